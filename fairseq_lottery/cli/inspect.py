"""Describe a ticket, checkpoint or snapshot: density, dead matrices, signs, record.

With --check, verify every file of a folder: not corrupted, at its sparsity, zero where pruned.
"""

import argparse
import json
from dataclasses import asdict
from typing import Any

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError

EXAMPLE = "fairseq-lottery inspect slt50.safetensors --json"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``inspect``."""
    parser.add_argument("file", help="ticket, checkpoint or snapshot; with --check, a folder")
    parser.add_argument("--check", action="store_true", help="verify all files of a run folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the description of a file, or verify a folder.

    Raises:
        LotteryError: a file cannot be read, or ``--check`` finds a problem.
    """
    import_user_module(args.user_dir)
    if args.check:
        _check(args.file, args.json)
        return
    from fairseq_lottery.tickets.inspection import inspect_file

    summary = inspect_file(args.file)
    as_json = json.dumps(summary, indent=2, sort_keys=True)
    print(as_json if args.json else _table(summary))


def _check(folder: str, as_json: bool) -> None:
    from fairseq_lottery.tickets.folder_check import check_folder

    checks = check_folder(folder)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            pruned = "dense" if check.pruned is None else f"{check.pruned}/{check.prunable} pruned"
            print(f"{check.file}: {check.kind}, update {check.update}, {pruned}; zero in"
                  f" {', '.join(check.checked) or 'no tensor'}" if not check.problems
                  else f"{check.file}: {'; '.join(check.problems)}")  # fmt: skip
    failed = [check for check in checks if check.problems]
    if failed:
        raise LotteryError(
            f"{len(failed)} of {len(checks)} files in {folder} have problems, the first is"
            f" {failed[0].file}: {failed[0].problems[0]}"
        )


def _patterns(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} x {pattern}" for pattern, count in sorted(counts.items())) or "none"


def _rounding(summary: dict[str, Any]) -> str:
    """Return why the count differs from that of the requested sparsity; empty if it does not."""
    from fairseq_lottery.masks import count_to_prune

    requested = (summary["record"] or {}).get("asked")
    if not isinstance(requested, float):
        return ""
    matrices = summary["matrices"].values()
    rounded = [count_to_prune(requested, row["size"]) == row["pruned"] for row in matrices]
    count = count_to_prune(requested, summary["prunable"])
    if count == summary["pruned"] or not all(rounded):
        return ""
    return (
        f"--sparsity {requested:g} of all prunable weights is {count}; --scope layer rounds each"
        " matrix to whole weights"
    )


def _table(summary: dict[str, Any]) -> str:
    from fairseq_lottery.tickets.size import advice, line

    lines = [
        f"{summary['file']}: {summary['kind']} at update {summary['update']}",
        *([f"SHA-256 of the file {summary['sha256']}"] if summary["sha256"] else []),
        f"sparsity {summary['sparsity']:.4f}: {summary['pruned']} of {summary['prunable']} prunable"
        f" weights ({summary['parameters']} parameters in all)",
        *filter(None, [_rounding(summary)]),
        f"mask {summary['mask_digest'] or 'none: zeros of every weight matrix were counted'}",
        "zeros and mask agree" if summary["agrees"] else "zeros and mask DISAGREE",
        line(summary),
        *filter(None, [advice(summary)]),
        f"full precision: {'yes' if summary['masters'] else 'no, rounded to half precision'}",
        f"patterns N:M (at most N of M weights in a row kept): {_patterns(summary['patterns'])}",
        "",
        f"{'matrix':<52} {'size':>10} {'pruned':>10} {'density':>8} {'negative':>8} {'pattern':>8}",
    ]
    for name, row in summary["matrices"].items():
        lines.append(
            f"{name:<52} {row['size']:>10} {row['pruned']:>10} {row['density']:>8.4f}"
            f" {row['negative']:>8.4f} {row['pattern'] or '-':>8}"
        )
    lines.append("")
    lines += [f"sparsity of {pair}: {share:.4f}" for pair, share in summary["pairs"].items()]
    lines.append(f"dead matrices: {', '.join(summary['dead']) or 'none'}")
    for key, value in sorted((summary["record"] or {}).items()):
        if value is not None and not isinstance(value, (dict, list)):
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
