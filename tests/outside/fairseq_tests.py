"""Run fairseq's own tests without this plugin and with it, and fail where it breaks one.

    python tests/outside/fairseq_tests.py TREE [MODULE ...]

TREE is a fairseq git tree: its tests come with no release. The fairseq that is tested is the one
that is installed here; of the tree only ``tests``, ``scripts`` and ``examples`` are on the path.
Without modules, all of ``fairseq_tests.txt`` runs; what is not run is named, with its reason.
"""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: seconds after which a run hangs; it takes minutes, where large models train in it an hour
PATIENCE = 4 * 3600


def listed(tree):
    """The modules of ``fairseq_tests.txt``; prints what of the tree is not run, and why."""
    lines = (HERE / "fairseq_tests.txt").read_text(encoding="utf-8").splitlines()
    left_out = [line[2:] for line in lines if line.startswith("- ")]
    modules = [line for line in lines if line.startswith("tests/")]
    for line in left_out:
        print(f"not run: {line}")
    there = {path.relative_to(tree).as_posix() for path in (tree / "tests").rglob("test_*.py")}
    for module in sorted(there - set(modules)):
        if not any(module.startswith(line.partition(":")[0]) for line in left_out):
            print(f"not run: {module}: the list does not know it")
    for module in sorted(set(modules) - there):
        print(f"not run: {module}: this tree does not have it")
    return [module for module in modules if module in there]


def outcomes(folder, modules, plugin):
    """(module, test) -> passed, failed or skipped, as pytest reports them."""
    report = folder / f"report-{plugin}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider"]
    command += ["--rootdir", folder, "-c", os.devnull, "--junitxml", report]
    command += ["--continue-on-collection-errors"]
    command += ["-p", "with_plugin"] if plugin else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (folder, HERE, ROOT)))
    log = folder / f"log-{plugin}.txt"
    with open(log, "w", encoding="utf-8") as file:
        try:
            code = subprocess.run(
                [*map(str, command), *modules], cwd=folder, env=environment, stdout=file,
                stderr=subprocess.STDOUT, check=False, timeout=PATIENCE,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            sys.exit(f"a test hangs, after these:\n{log.read_text(encoding='utf-8')[-3000:]}")
    if not report.is_file():
        sys.exit(f"pytest ended with {code} and left no report:\n{log.read_text()[-3000:]}")
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module = re.match(r"[\w.]*\.test_\w+|$", case.get("classname", ""))[0] or case.get("name")
        words = {child.tag for child in case}
        outcome = "failed" if words & {"failure", "error"} else "passed"
        found[module, case.get("name")] = "skipped" if "skipped" in words else outcome
    return found


def table(without, with_plugin):
    """A line per module: how many passed without the plugin and with it, and what broke."""
    modules = sorted({module for module, _ in {**without, **with_plugin}})
    wide = max(map(len, modules))
    rows = [f"{'module':{wide}}  tests  without  with  broken  mended  skipped"]
    total: Counter = Counter()
    for module in modules:
        names = [key for key in {**without, **with_plugin} if key[0] == module]
        counts = {
            "tests": len(names),
            "without": sum(without.get(key) == "passed" for key in names),
            "with": sum(with_plugin.get(key) == "passed" for key in names),
            "broken": sum(key in broken(without, with_plugin) for key in names),
            "mended": sum(key in broken(with_plugin, without) for key in names),
            "skipped": sum(without.get(key) == "skipped" for key in names),
        }
        total.update(counts)
        rows.append(_row(module, counts, wide))
    return "\n".join([*rows, _row("all", total, wide)])


def _row(name, counts, wide):
    return (
        f"{name:{wide}}  {counts['tests']:5}  {counts['without']:7}  {counts['with']:4}"
        f"  {counts['broken']:6}  {counts['mended']:6}  {counts['skipped']:7}"
    )


def broken(before, after):
    """What passed before and does not pass after."""
    passed = (key for key, outcome in before.items() if outcome == "passed")
    return [key for key in passed if after.get(key) != "passed"]


def main(tree, modules):
    """Both runs; the exit code is 1 where the plugin breaks a test."""
    if not (tree / "tests" / "utils.py").is_file():
        sys.exit(f"{tree} is no fairseq git tree: it has no tests/utils.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("tests", "scripts", "examples"):
            (folder / part).symlink_to(tree / part)
        without = outcomes(folder, modules, plugin=False)
        with_plugin = outcomes(folder, modules, plugin=True)
        if not any(outcome == "passed" for outcome in without.values()):
            log = (folder / "log-False.txt").read_text(encoding="utf-8")
            sys.exit(f"nothing passes without the plugin:\n{log[-3000:]}")
        print(table(without, with_plugin))
        worse = broken(without, with_plugin)
        for module, test in worse:
            print(f"broken by the plugin: {module}.{test}")
        if worse:
            print((folder / "log-True.txt").read_text(encoding="utf-8")[-6000:])
    return int(bool(worse))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    git_tree = Path(sys.argv[1]).resolve()
    sys.exit(main(git_tree, sys.argv[2:] or listed(git_tree)))
