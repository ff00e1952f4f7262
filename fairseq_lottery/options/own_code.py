"""Import code of the user: scores, pruners and measures, as ``package.module:name``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from typing import Any

from fairseq_lottery.errors import LotteryError


def load_own(title: str, name: str) -> Any:
    """Return the object at ``package.module:name``.

    Args:
        title: axis for error messages, such as ``score``.

    Raises:
        LotteryError: the object cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - a user's module may raise any error
        raise LotteryError(
            f"{title} {name} cannot be imported ({error}); check the name, and that its folder is"
            " on PYTHONPATH"
        ) from error


def digest_source(title: str, name: str, code: Any) -> str:
    """Return the SHA-256 of the source of a function or class.

    Raises:
        LotteryError: the source cannot be read.
    """
    try:
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError) as error:
        raise LotteryError(
            f"the source of {title} {name} cannot be read ({error}); define it in a .py file"
        ) from error
