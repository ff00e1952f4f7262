"""Sentences of WMT's SGML files, exactly as sacreBLEU takes them out."""

from __future__ import annotations

import re
from pathlib import Path

from fairseq_lottery.errors import LotteryError

SEGMENT = re.compile(r"<seg.*?>(.*)</seg>")


def read_segments(path: Path) -> list[str]:
    """The text of every ``<seg>``, white space collapsed, entities left as they are.

    WMT's files of 2014 are no valid SGML, and nothing of them is expanded or looked up: a segment
    is a line that starts with its tag. sacreBLEU reads them so, and scores against that text.

    Raises:
        LotteryError: the file is not UTF-8, or a segment does not end on its line.
    """
    segments = []
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.startswith("<seg "):
                    continue
                found = SEGMENT.match(line)
                if found is None:
                    raise LotteryError(
                        f"{path} has a segment without an end in line {number}; remove the archive"
                        " that it came from and run the same command again"
                    )
                segments.append(re.sub(r"\s+", " ", found.group(1).strip()))
    except UnicodeDecodeError as error:
        raise LotteryError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}); remove the archive that"
            " it came from and run the same command again"
        ) from error
    return segments
