"""The table of public datasets: `sources.json`, in types.

Folders, picture folders and names of split files are not here: the embedded host's dataset classes
know them. A hash stands here only where somebody has published it; `known_from` says who.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loreal_plugin.errors import DataError, unknown_name

TABLE = Path(__file__).with_name("sources.json")


@dataclass(frozen=True)
class Source:
    """One file on one server.

    Attributes:
        url: http or https.
        name: of the file.
        size: bytes; 0: not published.
        hash_kind, hash: `sha256` or `md5` and its digits; empty: not published.
        known_from: who published hash and size, a key of the table's `known_from`.
    """

    url: str
    name: str
    size: int = 0
    hash_kind: str = ""
    hash: str = ""
    known_from: str = ""


@dataclass(frozen=True)
class Part:
    """Files and folders of a dataset that come together.

    Attributes:
        gives: their paths below the dataset's folder.
        sources: the first that works is used.
        also_named: what an archive calls a path of `gives`.
        beside: the same file in another dataset's folder, below DATA.
    """

    gives: tuple[str, ...]
    sources: tuple[Source, ...]
    also_named: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""


@dataclass(frozen=True)
class Dataset:
    """One row of the table.

    Attributes:
        name: the YAML's in `configs/datasets/`.
        title, page, licence: of the publisher.
        note: what users have met with its sources.
        classes: how many are published.
        pictures: in train, val and test of the family's split; 0: not compared.
        steps: what a person has to do where no server gives the pictures to everybody.
    """

    name: str
    title: str
    page: str
    licence: str
    classes: int
    pictures: tuple[int, int, int]
    parts: tuple[Part, ...]
    note: str = ""
    steps: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Return the bytes to transfer; 0 where those of the pictures, the first part, are not
        published.
        """
        sizes = [max((source.size for source in part.sources), default=0) for part in self.parts]
        return sum(sizes) if sizes[0] else 0


def publishers() -> dict[str, str]:
    """Return who published the hashes, by the key that sources name."""
    return dict(json.loads(TABLE.read_text(encoding="utf-8"))["known_from"])


@cache
def datasets() -> dict[str, Dataset]:
    """Return the rows by name."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: _dataset(name, row) for name, row in content["datasets"].items()}


def dataset_row(name: str) -> Dataset:
    """Return one row.

    Raises:
        DataError: no such dataset; offers the nearest name.
    """
    if name not in datasets():
        raise DataError(unknown_name("public dataset", name, datasets()))
    return datasets()[name]


def _dataset(name: str, row: dict[str, Any]) -> Dataset:
    plain = {key: value for key, value in row.items() if key not in ("parts", "pictures", "steps")}
    return Dataset(
        name=name,
        pictures=tuple(row["pictures"]),
        parts=tuple(_part(part) for part in row["parts"]),
        steps=tuple(row.get("steps", ())),
        **plain,
    )


def _part(row: dict[str, Any]) -> Part:
    return Part(
        tuple(row["gives"]),
        tuple(_source(source) for source in row["sources"]),
        row.get("also_named", {}),
        row.get("beside", ""),
    )


def _source(row: dict[str, Any]) -> Source:
    kind = next((kind for kind in ("sha256", "md5") if kind in row), "")
    return Source(
        row["url"],
        row.get("name") or file_name(row["url"]),
        row.get("bytes", 0),
        kind,
        row.get(kind, ""),
        row.get("known_from", ""),
    )


def file_name(url: str) -> str:
    """Return the name of the file that a URL leads to."""
    return unquote(urlsplit(url).path.rpartition("/")[2])
