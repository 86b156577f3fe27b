"""A folder as a registry: its modules are the entries, found by looking, named in one place.

``students/``, ``teachers/``, ``distill/``, ``data/`` and ``backends/`` are catalogues: adding
an entry means adding a file, and nothing else.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from edgeseg.errors import UserError
from edgeseg.schedules import Ramp, Stages


def modules(package: ModuleType) -> list[str]:
    """Names of the modules in a catalogue folder, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def entries(package: ModuleType) -> dict[str, Callable[..., Any]]:
    """Every function that a module of the folder lists in ``__all__``, by its public name.

    ``ddrnet_23_slim`` is published as ``ddrnet-23-slim``: what one types on a command line. Parts of what a module
    calls its ``METHOD`` come behind its name: ``skd.pair``.
    """
    found: dict[str, Callable[..., Any]] = {}
    for name in modules(package):
        module = importlib.import_module(f"{package.__name__}.{name}")
        method = f"{module.METHOD}." if hasattr(module, "METHOD") else ""
        for symbol in module.__all__:
            if symbol.islower():  # classes are not entries
                found[method + symbol.replace("_", "-")] = getattr(module, symbol)
    return found


def pick(found: dict[str, Callable[..., Any]], name: str, what: str, error: type[UserError]) -> Callable[..., Any]:
    """The entry called ``name``; otherwise ``error`` with what there is and what was probably meant."""
    if name in found:
        return found[name]
    close = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise error(f"no {what} called {name!r}: {hint}edgeseg has {', '.join(found)}")


def weighted(
    found: dict[str, Callable[..., Any]], text: str, what: str, *, unsaid: str = "", bounded: bool = False
) -> tuple[float | Ramp, Callable[..., Any]]:
    """``"kl=1,temperature=4"``: the weight, and the entry with its options (keyword-only parameters) filled in.

    ``T`` is short for temperature. ``temperature=8:4:1`` goes through the values in stages of equal length, and
    ``ramp=0.3`` lets the weight grow over that share of the training. ``unsaid`` is the weight where none is given.
    Options are positive, unless entries know the bounds of their own (``bounded``): there 0 may turn a part off.
    Raises UserError, with an example, for anything else.
    """
    (name, weight), *options = (item.partition("=")[::2] for item in text.replace(" ", "").split(","))
    weight = weight or unsaid
    entry = pick(found, name, what, UserError)
    defaults = {k: p.default for k, p in inspect.signature(entry).parameters.items() if p.kind is p.KEYWORD_ONLY}
    number: float | Ramp = _number(weight, text, "the weight", name)
    given: dict[str, float | str | Stages] = {}
    for option, value in options:
        if option == "T" and "temperature" in defaults:
            option = "temperature"
        if option == "ramp":
            share = _number(value, text, option, name)
            if share > 1:
                raise UserError(f"ramp in {text!r} is a share of the training, at most 1, got {value!r}")
            number = Ramp(_number(weight, text, "the weight", name), share)
            continue
        if option not in defaults:
            takes = ", ".join(f"{k} (default {v if isinstance(v, str) else f'{v:g}'})" for k, v in defaults.items())
            raise UserError(f"{name} has no option {option!r} in {text!r}; its options: {takes or 'none'}")
        if isinstance(defaults[option], str):  # a choice, which the entry itself knows
            given[option] = value
            continue
        values = tuple(_number(v, text, option, name, zero=bounded) for v in value.split(":"))
        given[option] = values[0] if len(values) == 1 else Stages(values)
    return number, functools.partial(entry, **given) if given else entry


def _number(value: str, text: str, what: str, name: str, *, zero: bool = False) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf or (zero and number == 0)):
        expected = "0 or a positive number" if zero else "a positive number"
        raise UserError(f"{what} in {text!r} must be {expected}, got {value!r}; for example '{name}=1'")
    return number
