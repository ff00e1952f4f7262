"""Code of a user's own: scores, pruners and measures, named as ``package.module:name``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from typing import Any

from fairseq_lottery.errors import LotteryError


def load_own(title: str, name: str) -> Any:
    """Import what a user's ``package.module:name`` names.

    Args:
        title: what it is, for error messages, as ``score``.

    Raises:
        LotteryError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - a user's module raises whatever it likes
        raise LotteryError(
            f"{title} {name} cannot be imported ({error}); check the name, and that its folder is"
            " on PYTHONPATH"
        ) from error


def digest_source(title: str, name: str, code: Any) -> str:
    """Return the SHA-256 of the source of a function or class.

    Raises:
        LotteryError: it has no source that can be read.
    """
    try:
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError) as error:
        raise LotteryError(
            f"the source of {title} {name} cannot be read ({error}); define it in a .py file"
        ) from error
