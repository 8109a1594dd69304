"""Where a part of a dataset may be taken from: the table's servers, or what a user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.download.table import Dataset, Part, Source
from loreal_plugin.errors import DataError


@dataclass(frozen=True)
class Origin:
    """One place for one part.

    Attributes:
        source: the server's file, or what was published of a file at hand; None: nothing was.
        path: a file or folder at hand; None: it comes over the network.
    """

    source: Source | None
    path: Path | None = None

    @property
    def label(self) -> str:
        """Return it in words."""
        return str(self.path) if self.path else self.source.url if self.source else ""


def origins(row: Dataset, part: Part, given: Sequence[str], data: Path) -> Iterator[Origin]:
    """Yield where a part may come from, in the order in which it is tried.

    Args:
        given: files, folders and mirrors that were named; with any, the table's servers are not
            asked.
        data: DATA.
    """
    if part.beside and (data / part.beside).is_file():
        yield Origin(None, data / part.beside)
    for word in given:
        if is_address(word):
            for source in part.sources:
                url = f"{word.rstrip('/')}/{source.name}"
                yield Origin(dataclasses.replace(source, url=url))
        else:
            yield from _at_hand(row, part, Path(word).expanduser())
    if not given:
        yield from (Origin(source) for source in part.sources)


def is_address(word: str) -> bool:
    """Return whether what was named lies on a server."""
    return word.startswith(("http://", "https://"))


def check_given(given: Sequence[str]) -> None:
    """Raise DataError where what was named is neither there nor a URL."""
    for word in given:
        if not is_address(word) and not Path(word).expanduser().exists():
            raise DataError(f"--from {word}: no such file or folder, and no http(s) address")


def _at_hand(row: Dataset, part: Part, path: Path) -> Iterator[Origin]:
    """Yield a file or folder that a user named, where it may hold the part."""
    if path.is_dir():
        for source in part.sources:
            if (path / source.name).is_file():
                yield Origin(source, path / source.name)
        yield Origin(None, path)
        return
    known = [(one, source) for one in row.parts for source in one.sources]
    named = [(one, source) for one, source in known if source.name == path.name]
    for one, source in named:
        if one is part:
            yield Origin(source, path)
    if not named:
        yield Origin(None, path)
