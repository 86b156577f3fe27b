"""A folder as a registry: its modules are the entries, found by looking, named in one place.

``students/``, ``teachers/``, ``distill/``, ``data/`` and ``backends/`` are catalogues: adding
an entry means adding a file, and nothing else.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from edgeseg.errors import UserError


def modules(package: ModuleType) -> list[str]:
    """Names of the modules in a catalogue folder, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def entries(package: ModuleType) -> dict[str, Callable[..., Any]]:
    """Every function that a module of the folder lists in ``__all__``, by its public name.

    ``ddrnet_23_slim`` is published as ``ddrnet-23-slim``: what one types on a command line.
    """
    found: dict[str, Callable[..., Any]] = {}
    for name in modules(package):
        module = importlib.import_module(f"{package.__name__}.{name}")
        for symbol in module.__all__:
            if symbol.islower():  # classes are not entries
                found[symbol.replace("_", "-")] = getattr(module, symbol)
    return found


def pick(found: dict[str, Callable[..., Any]], name: str, what: str, error: type[UserError]) -> Callable[..., Any]:
    """The entry called ``name``; otherwise ``error`` with what there is and what was probably meant."""
    if name in found:
        return found[name]
    close = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise error(f"no {what} called {name!r}: {hint}edgeseg has {', '.join(found)}")
