"""List installed packages, check their compatibility, and print commands that repair it."""

import argparse
import json
from dataclasses import asdict

from fairseq_lottery.environment import Finding, examine, installed
from fairseq_lottery.errors import LotteryError

EXAMPLE = "fairseq-lottery doctor --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Print the installed versions.

    Raises:
        LotteryError: a package is incompatible.
    """
    findings = examine(installed())
    misfits = [finding for finding in findings if not finding.fits]
    if args.json:
        parts = [{**asdict(finding), "fits": finding.fits} for finding in findings]
        print(json.dumps({"fits": not misfits, "parts": parts}, indent=2))
    else:
        _print_table(findings, misfits)
    if misfits:
        names = ", ".join(finding.part for finding in misfits)
        raise LotteryError(f"incompatible packages: {names}; run the commands above")


def _print_table(findings: list[Finding], misfits: list[Finding]) -> None:
    """Print a line per package, then each command below the problems that it repairs."""
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        print(f"{'ok' if finding.fits else 'NO'}  {finding.part:{width}}  {finding.found}")
    for command in dict.fromkeys(finding.remedy for finding in misfits):
        print()
        for finding in misfits:
            if finding.remedy == command:
                print(finding.problem)
        print(f"    {command}")
