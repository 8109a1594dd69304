"""Errors that a user can act on: what was asked, what was found, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class LorealError(Exception):
    """Base of every error that the plug-in raises on wrong input; one line on the terminal."""


class ConfigError(LorealError):
    """A setting that cannot be used as given."""


class HostError(LorealError):
    """A host that is missing, incomplete, or does not answer the host contract."""


class WeightsError(LorealError):
    """CLIP weights that are missing, truncated or of a kind that cannot be read."""


class DataError(LorealError):
    """A dataset, picture or split that is missing or broken."""


class TransferError(DataError):
    """A file that no source gave, or that is not the one that was published."""


class ArchiveError(DataError):
    """An archive that is damaged, or that would write what it must not."""


class AttributeFileError(LorealError):
    """An attribute file that is missing, malformed or unusable."""


class MiningError(LorealError):
    """Attributes that could not be mined: the endpoint, an answer, or what was asked for."""


class CheckpointError(LorealError):
    """A checkpoint that does not fit the run it is loaded into."""


class CacheError(LorealError):
    """An embedding cache that cannot be written or read back."""


def near_name(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is nearest to `name`, None if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=cutoff)
    return next((n for n in names if near and n.lower() == near[0]), None)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the text of an unknown-name error, with the nearest known name and the whole list."""
    names = sorted(known)
    hint = near_name(name, names, cutoff=0.4)
    guess = f"; did you mean '{hint}'?" if hint else ""
    return f"unknown {kind} '{name}'{guess} (known: {', '.join(names)})"


def one_line(error: BaseException) -> str:
    """Return an error's text as one line, its class's name where it has no text.

    Of the report of a data loader's worker process only the error that it reports is returned.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if lines[0].startswith("Caught ") and "worker process" in lines[0]:
        return re.sub(r"^[\w.]+Error: ", "", lines[-1])
    return " ".join(lines)
