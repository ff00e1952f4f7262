"""Show what a ticket, checkpoint or snapshot holds: density, dead matrices, signs, record."""

import argparse
from typing import Any

EXAMPLE = "fairseq-lottery inspect slt50.safetensors --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One file, as a table or as JSON."""
    parser.add_argument("file", help="ticket, checkpoint or snapshot")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Print the description."""
    from fairseq_lottery.environment import require

    for package in ("torch", "numpy", "safetensors"):
        require(package)
    import json

    from fairseq_lottery.tickets.inspection import inspect_file

    found = inspect_file(args.file)
    print(json.dumps(found, indent=2, sort_keys=True) if args.json else _table(found))


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['file']}: {found['kind']} at update {found['update']}",
        f"sparsity {found['sparsity']:.4f}: {found['pruned']} of {found['prunable']} prunable"
        f" weights ({found['parameters']} parameters in all)",
        f"mask {found['mask_digest'] or 'none: zeros were counted in every weight matrix'}",
        "zeros and mask agree" if found["agrees"] else "zeros and mask DISAGREE",
        f"full precision: {'yes' if found['masters'] else 'no, rounded to half precision'}",
        "",
        f"{'matrix':<52} {'size':>10} {'pruned':>10} {'density':>8} {'negative':>8}",
    ]
    for name, row in found["matrices"].items():
        lines.append(
            f"{name:<52} {row['size']:>10} {row['pruned']:>10} {row['density']:>8.4f}"
            f" {row['negative']:>8.4f}"
        )
    lines.append("")
    lines.append(f"dead matrices: {', '.join(found['dead']) or 'none'}")
    for key, value in sorted((found["record"] or {}).items()):
        if value is not None and not isinstance(value, (dict, list)):
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
