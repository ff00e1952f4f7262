"""Public names of a package, imported at first use, so that torch is loaded only if needed."""

import importlib
from collections.abc import Mapping
from typing import Any, Callable


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: ``__name__`` of the package.
        modules: public name -> module of the package that defines it.
    """

    def getattr_of_package(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return getattr_of_package
