import argparse
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fairseq_lottery.cli import doctor
from fairseq_lottery.environment import Fairseq, Installed, examine, require
from fairseq_lottery.errors import LotteryError

ROOT = Path(__file__).resolve().parents[2]
INSTALL = 'pip install "fairseq-lottery[fairseq]"'

MODERN = {
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "fairseq-fixed": "0.12.3.1",
    "hydra-core": "1.3.2",
    "omegaconf": "2.3.0",
    "safetensors": "0.8.0",
    "sacrebleu": "2.6.0",
    "sentencepiece": "0.2.3",
    "pip": "26.3",
}
CLASSIC = {
    **MODERN,
    "torch": "1.12.1",
    "numpy": "1.23.5",
    "fairseq": "0.12.2",
    "hydra-core": "1.0.7",
    "omegaconf": "2.0.6",
    "pip": "23.3.2",
}
del CLASSIC["fairseq-fixed"]
FIXED_NEEDS = ("cffi", "hydra-core==1.3.2", "omegaconf==2.3.0", "numpy>=1.21.3", "torch>=1.13")
OFFICIAL_NEEDS = ("cffi", "hydra-core<1.1,>=1.0.7", "omegaconf<2.1", "torch", "torchaudio>=0.8.0")


def package(folder, python_311):
    """A folder that looks like fairseq's, with configuration classes old or new."""
    configs = folder / "fairseq" / "dataclass" / "configs.py"
    configs.parent.mkdir(parents=True)
    value = "field(default_factory=CommonConfig)" if python_311 else "CommonConfig()"
    configs.write_text(f"class FairseqConfig:\n    common: CommonConfig = {value}\n")
    return folder / "fairseq"


@pytest.fixture
def modern(tmp_path):
    folder = package(tmp_path / "modern", python_311=True)
    fairseq = Fairseq(folder, "0.12.3.1", "fairseq-fixed", FIXED_NEEDS)
    return lambda changes={}, python=(3, 11, 7), fairseq=fairseq: Installed(
        python, changed(MODERN, changes), fairseq
    )


@pytest.fixture
def classic(tmp_path):
    folder = package(tmp_path / "classic", python_311=False)
    fairseq = Fairseq(folder, "0.12.2", "fairseq", OFFICIAL_NEEDS)
    return lambda changes={}, python=(3, 10, 13), fairseq=fairseq: Installed(
        python, changed(CLASSIC, changes), fairseq
    )


def changed(versions, changes):
    """Other versions; one that is None is not installed."""
    return {name: v for name, v in {**versions, **changes}.items() if v is not None}


def misfits(here):
    return [(f.part, f.problem, f.remedy) for f in examine(here) if not f.fits]


def test_both_stacks_as_tested_fit(modern, classic):
    assert misfits(modern()) == []
    assert misfits(classic()) == []
    assert misfits(classic({"torch": "2.5.1"}, python=(3, 9, 18))) == []


@pytest.mark.parametrize(
    "part, needs",
    [
        ("torch", "torch>=1.13"),
        ("numpy", "numpy>=1.21.3"),
        ("hydra-core", "hydra-core==1.3.2"),
        ("omegaconf", "omegaconf==2.3.0"),
        ("safetensors", "safetensors"),
        ("sacrebleu", "sacrebleu"),
        ("sentencepiece", "sentencepiece"),
    ],
)
def test_a_missing_package_is_named_with_its_command(modern, part, needs):
    problem = f"{part} is not installed"
    assert misfits(modern({part: None})) == [(part, problem, f'pip install "{needs}"')]
    (_, _, remedy) = misfits(modern({part: None, "fairseq-fixed": None}, fairseq=None))[-1]
    assert remedy == INSTALL


def test_no_fairseq(modern):
    here = modern({"fairseq-fixed": None}, fairseq=None)
    assert misfits(here) == [("fairseq", "fairseq is not installed", INSTALL)]


def test_official_fairseq_on_python_311(classic):
    problem = "fairseq 0.12.2 cannot be imported on Python 3.11 and later"
    remedy = f"pip uninstall -y fairseq && {INSTALL}"
    assert misfits(classic(python=(3, 11, 7))) == [("fairseq", problem, remedy)]


def test_two_fairseqs(modern):
    problem = "fairseq and fairseq-fixed are both installed and overwrite each other"
    remedy = f"pip uninstall -y fairseq fairseq-fixed && {INSTALL}"
    assert misfits(modern({"fairseq": "0.12.2"})) == [("fairseq", problem, remedy)]


@pytest.mark.parametrize(
    "part, version, needs",
    [
        ("torch", "2.6.0", "torch<2.6"),
        ("torch", "2.13.0+cpu", "torch<2.6"),
        ("numpy", "1.24.0", "numpy<1.24"),
        ("hydra-core", "1.3.2", "hydra-core<1.1,>=1.0.7"),
        ("hydra-core", "1.0.6", "hydra-core<1.1,>=1.0.7"),
        ("omegaconf", "2.1.0", "omegaconf<2.1"),
    ],
)
def test_what_the_official_release_needs(classic, part, version, needs):
    here = classic({part: version})
    assert misfits(here) == [(part, f"fairseq 0.12.2 needs {needs}", f'pip install "{needs}"')]


@pytest.mark.parametrize(
    "part, version, needs",
    [("hydra-core", "1.0.7", "hydra-core==1.3.2"), ("omegaconf", "2.3.1", "omegaconf==2.3.0")],
)
def test_what_the_fixed_fork_needs(modern, part, version, needs):
    here = modern({part: version})
    assert misfits(here) == [(part, f"fairseq 0.12.3.1 needs {needs}", f'pip install "{needs}"')]


def test_new_pip_goes_back_before_it_installs_old_omegaconf(classic):
    ((_, _, remedy),) = misfits(classic({"omegaconf": "2.3.0", "pip": "24.1"}))
    assert remedy == 'pip install "pip<24.1" && pip install "omegaconf<2.1"'


def test_a_checkout_is_judged_by_what_it_declares(classic):
    here = classic({"torch": "2.13.0"})
    assert [part for part, _, _ in misfits(here)] == ["torch"]
    (here.fairseq.folder.parent / "setup.py").touch()
    assert misfits(here) == []
    found = {finding.part: finding.found for finding in examine(here)}
    assert found["fairseq"] == f"0.12.2, checkout ({here.fairseq.folder})"
    assert [part for part, _, _ in misfits(classic({"omegaconf": "2.3.0"}))] == ["omegaconf"]


def distribution(site, name, version, requires=(), source=None):
    """Metadata as pip writes it."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if source:
        (info / "direct_url.json").write_text(
            json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
        )


def fairseq_doctor(*arguments, path):
    """The real thing, in an interpreter that sees only the given folders."""
    code = f"""
        import argparse, sys
        from fairseq_lottery.cli import doctor
        from fairseq_lottery.errors import LotteryError
        parser = argparse.ArgumentParser()
        doctor.add_arguments(parser)
        try:
            doctor.run(parser.parse_args({list(arguments)}))
        except LotteryError as error:
            sys.exit(str(error))
        finally:
            assert not {{"torch", "numpy", "fairseq"}} & set(sys.modules)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],
        env=environment,
        cwd=path[-1],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def site(tmp_path):
    """A site-packages folder with everything but a fairseq."""
    site = tmp_path / "site"
    versions = CLASSIC if sys.version_info < (3, 11) else MODERN
    for name, version in versions.items():
        if name not in ("fairseq", "fairseq-fixed"):
            distribution(site, name, version)
    return site


def test_an_installed_fairseq_is_found(site):
    folder = package(site, python_311=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    needs = ['numpy<1.20.0; python_version < "3.7"', "safetensors (<0.9,>=0.8)", "torch"]
    distribution(site, "fairseq-fixed", "0.12.3.1", needs)
    done = fairseq_doctor("--json", path=[ROOT, site])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    parts = {part["part"]: part for part in report["parts"]}
    assert report["fits"] and parts["fairseq"]["fits"] and parts["fairseq"]["problem"] is None
    assert parts["fairseq"]["found"] == f"0.12.3.1, fixed ({folder})"
    assert parts["user-dir"]["found"] == str(ROOT / "fairseq_lottery")


def test_an_editable_fairseq_is_found_where_it_lies(site, tmp_path):
    checkout = tmp_path / "clone"
    folder = package(checkout, python_311=True)
    (folder / "__init__.py").touch()
    (checkout / "setup.py").touch()
    distribution(site, "fairseq", "0.12.2", ["safetensors<0.1"], source=checkout)
    done = fairseq_doctor(path=[ROOT, checkout, site])
    assert f"0.12.2, checkout ({folder})" in done.stdout
    assert "\nfairseq 0.12.2 needs safetensors<0.1\n    pip install" in done.stdout
    assert done.stderr.startswith("incompatible packages: safetensors; ")


def test_a_checkout_that_only_lies_on_the_path(site, tmp_path):
    folder = package(tmp_path / "clone", python_311=True)
    (folder / "__init__.py").touch()
    (folder / "version.txt").write_text("0.12.2\n")
    (tmp_path / "clone" / "setup.py").touch()
    package(site, python_311=True)
    distribution(site, "fairseq-fixed", "0.12.3.1", ["safetensors<0.1"])
    done = fairseq_doctor(path=[ROOT, tmp_path / "clone", site])
    assert done.returncode == 0, done.stderr
    assert f"fairseq        0.12.2, checkout ({folder})" in done.stdout


def test_nothing_but_the_package_itself(tmp_path):
    (tmp_path / "fairseq").mkdir()  # a folder of that name is no fairseq
    done = fairseq_doctor(path=[ROOT, tmp_path])
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    for name in ("torch", "fairseq", "safetensors"):
        assert re.search(rf"^NO +{name} +-$", done.stdout, re.MULTILINE)
        assert f"\n{name} is not installed\n" in done.stdout
    assert done.stdout.count(INSTALL) == 1


def test_require_names_the_extra_where_there_is_no_fairseq(monkeypatch):
    require("json", "argparse")
    monkeypatch.setattr("fairseq_lottery.environment.find_spec", lambda name: None)
    with pytest.raises(
        LotteryError, match=r'^torch is not installed: .*"fairseq-lottery\[fairseq\]'
    ):
        require("torch")
    extra = r"\[workflow\]"
    with pytest.raises(LotteryError, match=f"^rich is not installed: .*fairseq-lottery{extra}"):
        require("rich")


def test_require_leaves_a_fairseq_that_is_there_alone(monkeypatch, modern):
    monkeypatch.setattr("fairseq_lottery.environment.installed", modern)
    with pytest.raises(LotteryError, match='^no_such_part is not installed: pip install "no_such'):
        require("json", "no_such_part")


def test_require_refuses_a_fairseq_that_cannot_be_imported(monkeypatch, classic):
    pytest.importorskip("fairseq")
    require("fairseq")
    here = classic(python=(3, 11, 7))
    monkeypatch.setattr("fairseq_lottery.environment.installed", lambda: here)
    with pytest.raises(LotteryError, match="^fairseq 0.12.2 cannot be imported .*: pip uninstall"):
        require("fairseq")


def test_help_and_the_environment_of_these_tests(capsys):
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    assert "--json" in parser.format_help()
    doctor.run(parser.parse_args([]))
    assert "NO" not in capsys.readouterr().out.split()
