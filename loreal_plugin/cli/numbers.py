"""Numbers of the command line, refused before anything is imported that takes time."""

from __future__ import annotations

from collections.abc import Callable

from loreal_plugin.errors import ConfigError


def number(text: str, fits: Callable[[float], bool], rule: str) -> float:
    """Return a word as a number.

    Args:
        fits: whether a number can be used.
        rule: the option and what it takes, as the error begins.

    Raises:
        ConfigError: the word is no number, or one that does not fit.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):  # nothing compares with nan, so it fits nowhere
        raise ConfigError(f"{rule}, not '{text}'")
    return value
