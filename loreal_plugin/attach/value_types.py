"""Values of a recipe in the type that a host declares.

Hosts declare the same key in different types, and yacs refuses 1 where a host's default is 1.0. A
number that fits is converted here. Anything else is refused, with what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loreal_plugin.errors import ConfigError

# of a file, and of the command line
_UNDECLARED = re.compile(r"Non-existent (?:config )?key: ([\w.]+)")
_CHECK = "_check_and_coerce_cfg_value_type"


@contextmanager
def numbers_that_fit() -> Iterator[None]:
    """Let configurations take an int for a declared float, and a whole float for an int.

    yacs's own check is put back afterwards.
    """
    from yacs import config  # a host brings it

    strict = getattr(config, _CHECK, None)
    if strict is None:  # another yacs, which has its own ways
        yield
        return
    setattr(config, _CHECK, _lenient(strict))
    try:
        yield
    finally:
        setattr(config, _CHECK, strict)


@contextmanager
def undeclared_keys_named() -> Iterator[None]:
    """Say what to do where yacs finds a key that a host does not declare.

    Raises:
        ConfigError: instead of yacs's KeyError or AssertionError.
    """
    try:
        yield
    except (KeyError, AssertionError) as error:
        found = _UNDECLARED.search(str(error))
        if found is None:
            raise
        raise ConfigError(
            f"this host does not declare the key {found[1]}, which the recipe or command line sets"
            " (another version of Dassl or of the host may have it); leave it out: a recipe of your"
            " own, or a row's, need not have it"
        ) from error


def _lenient(strict: Callable[..., Any]) -> Callable[..., Any]:
    """Return yacs's check with two more conversions, and an error that says what to do."""

    def check(replacement: Any, original: Any, key: str, full_key: str) -> Any:
        try:
            return strict(replacement, original, key, full_key)
        except ValueError as error:
            number = _number_as(replacement, type(original))
            if number is not None:
                return number
            wanted, given = type(original).__name__, type(replacement).__name__
            raise ConfigError(
                f"{full_key} is {wanted} in this host (its default: {original!r}), and the recipe"
                f" or command line has {replacement!r}, {given}; give a {wanted}: -- {full_key}"
                " VALUE, or in a recipe of your own where the recipe has it"
            ) from error

    return check


def _number_as(value: Any, kind: type) -> int | float | None:
    """Return a number in another type of number; None where it is none or would lose something."""
    if type(value) is int and kind is float:
        return float(value)
    if type(value) is float and kind is int and value.is_integer():
        return int(value)
    return None
