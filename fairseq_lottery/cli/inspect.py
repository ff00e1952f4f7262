"""Show what a ticket, checkpoint or snapshot holds: density, dead matrices, signs, record.

With --check a whole folder is verified: every file whole, at its sparsity, zero where it is pruned.
"""

import argparse
from typing import Any

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module

EXAMPLE = "fairseq-lottery inspect slt50.safetensors --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One file, as a table or as JSON; or a folder to verify."""
    parser.add_argument("file", help="ticket, checkpoint or snapshot; with --check a folder")
    parser.add_argument("--check", action="store_true", help="verify all files of a run's folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the description."""
    from fairseq_lottery.environment import require

    for package in ("torch", "numpy", "safetensors"):
        require(package)
    import_user_module(args.user_dir)
    import json

    if args.check:
        _check(args.file, args.json)
        return
    from fairseq_lottery.tickets.inspection import inspect_file

    found = inspect_file(args.file)
    print(json.dumps(found, indent=2, sort_keys=True) if args.json else _table(found))


def _check(folder: str, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.tickets.folder_check import check_folder

    found = check_folder(folder)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            what = "dense" if one.pruned is None else f"{one.pruned}/{one.prunable} pruned"
            print(f"{one.file}: {one.kind}, update {one.update}, {what}; zero in"
                  f" {', '.join(one.looked_at) or 'nothing to look at'}" if not one.problems
                  else f"{one.file}: {'; '.join(one.problems)}")  # fmt: skip
    bad = [one for one in found if one.problems]
    if bad:
        raise LotteryError(
            f"{len(bad)} of {len(found)} files in {folder} are not what they should be, the first"
            f" {bad[0].file}: {bad[0].problems[0]}"
        )


def _patterns(found: dict[str, int]) -> str:
    return ", ".join(f"{count} x {pattern}" for pattern, count in sorted(found.items())) or "none"


def _rounding(found: dict[str, Any]) -> str:
    """Say why the count is not that of the requested sparsity; empty where it is."""
    from fairseq_lottery.masks import count_to_prune

    asked = (found["record"] or {}).get("asked")
    if not isinstance(asked, float):
        return ""
    rounded = [
        count_to_prune(asked, row["size"]) == row["pruned"] for row in found["matrices"].values()
    ]
    count = count_to_prune(asked, found["prunable"])
    if count == found["pruned"] or not all(rounded):
        return ""
    return (
        f"--sparsity {asked:g} of all prunable weights is {count}; --scope layer rounds each"
        " matrix to whole weights"
    )


def _table(found: dict[str, Any]) -> str:
    from fairseq_lottery.tickets.size import advice, line

    lines = [
        f"{found['file']}: {found['kind']} at update {found['update']}",
        f"sparsity {found['sparsity']:.4f}: {found['pruned']} of {found['prunable']} prunable"
        f" weights ({found['parameters']} parameters in all)",
        *filter(None, [_rounding(found)]),
        f"mask {found['mask_digest'] or 'none: zeros were counted in every weight matrix'}",
        "zeros and mask agree" if found["agrees"] else "zeros and mask DISAGREE",
        line(found),
        *filter(None, [advice(found)]),
        f"full precision: {'yes' if found['masters'] else 'no, rounded to half precision'}",
        f"patterns N:M (of M weights in a row at most N stay): {_patterns(found['patterns'])}",
        "",
        f"{'matrix':<52} {'size':>10} {'pruned':>10} {'density':>8} {'negative':>8}"
        f" {'pattern':>8}",
    ]
    for name, row in found["matrices"].items():
        lines.append(
            f"{name:<52} {row['size']:>10} {row['pruned']:>10} {row['density']:>8.4f}"
            f" {row['negative']:>8.4f} {row['pattern'] or '-':>8}"
        )
    lines.append("")
    lines.append(f"dead matrices: {', '.join(found['dead']) or 'none'}")
    for key, value in sorted((found["record"] or {}).items()):
        if value is not None and not isinstance(value, (dict, list)):
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
