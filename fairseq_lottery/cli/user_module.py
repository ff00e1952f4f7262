"""Import a user directory with its own architecture or task, as fairseq's commands do."""

import argparse
from typing import Optional

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError


def add_user_dir(parser: argparse.ArgumentParser) -> None:
    """Add fairseq's flag ``--user-dir`` to a command that builds models."""
    parser.add_argument(
        "--user-dir",
        metavar="FOLDER",
        help="folder that registers the model's architecture or task, as in fairseq's commands",
    )


def import_user_module(folder: Optional[str]) -> None:
    """Import the folder of ``--user-dir``, after fairseq and this plugin.

    Raises:
        LotteryError: the folder does not exist, or its code fails.
    """
    if folder is None:
        return
    require("fairseq")
    import fairseq.utils

    import fairseq_lottery.plugin  # noqa: F401 - a user directory may extend what it registers

    try:
        fairseq.utils.import_user_module(argparse.Namespace(user_dir=folder))
    except FileNotFoundError as error:
        raise LotteryError(f"--user-dir {folder} does not exist; give a folder") from error
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        reason = " ".join(str(error).split())[:300]
        raise LotteryError(
            f"--user-dir {folder} cannot be imported: {type(error).__name__}: {reason}"
        ) from error
