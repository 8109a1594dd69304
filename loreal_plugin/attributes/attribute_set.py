"""Reading and checking attribute files; docs/ATTRIBUTES.md describes the format.

A file is `{"schema_version": 1, "dataset", "domain", "attributes": [...], "reasons": {},
"provenance": {}}`; `"per_class": {class name: [...]}` may be added for `ATTRIBUTE_SCOPE class`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loreal_plugin.errors import AttributeFileError, unknown_name
from loreal_plugin.files import digest_bytes
from loreal_plugin.options import LorealOptions
from loreal_plugin.paths import bundle_root
from loreal_plugin.plain_output import counted

SCHEMA_VERSION = 1
GENERIC = "generic"


@dataclass(frozen=True)
class AttributeSet:
    """The attributes of one file.

    `words` are in the file's order; `per_class` is empty where the file has one list for all
    classes; `sha256` is of the file's bytes; `fallback` says that the dataset has no file and the
    generic one is used.
    """

    words: tuple[str, ...]
    domain: str
    source: Path
    sha256: str
    per_class: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fallback: bool = False

    def select(self, n_attributes: int, shuffle_seed: int = -1) -> list[str]:
        """Return the first K words, shuffled where a seed is given.

        Raises:
            AttributeFileError: the file has fewer than K.
        """
        return _first(self.words, n_attributes, shuffle_seed, f"attribute file {self.source}")

    def select_per_class(
        self, classnames: list[str], n_attributes: int, shuffle_seed: int = -1
    ) -> list[list[str]]:
        """Return the first K words of every class, in the order of `classnames`.

        Raises:
            AttributeFileError: the file has no words for a class, or fewer than K.
        """
        by_name = {_plain(name): words for name, words in self.per_class.items()}
        missing = [name for name in classnames if _plain(name) not in by_name]
        if missing:
            raise AttributeFileError(
                f"attribute file {self.source}: ATTRIBUTE_SCOPE class needs words for every class; "
                f"none for {', '.join(repr(m) for m in missing[:5])}"
                f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
            )
        return [
            _first(
                by_name[_plain(name)],
                n_attributes,
                shuffle_seed,
                f"attribute file {self.source}, class '{name}'",
            )
            for name in classnames
        ]

    def select_for(self, options: LorealOptions, classnames: Sequence[str]) -> list[Any]:
        """Return the words of slots as ATTRIBUTE_SCOPE says: K, or K for every class.

        Raises:
            AttributeFileError: the file has fewer, or none for a class.
        """
        k, seed = options.n_attributes, options.attr_shuffle_seed
        if options.attribute_scope == "class":
            return self.select_per_class(list(classnames), k, seed)
        return self.select(k, seed)


def dataset_of(cfg: Any) -> str:
    """Return a dataset's name in attribute files; of a user's own pictures the folder's name."""
    name = cfg.DATASET.NAME
    return (cfg.DATASET.get("FOLDER", "") or name) if name == "Folder" else name


def available_attributes() -> list[str]:
    """Return the names of the attribute files that come with the project."""
    return sorted(p.stem for p in (bundle_root() / "attributes").glob("*.json"))


def load_attributes(name_or_path: str, dataset: str) -> AttributeSet:
    """Return the attributes of a file, of a shipped name, or (empty name) of the dataset.

    A dataset's file is the one whose "dataset" field or file name is the registered name. A dataset
    without a file of its own gets the generic one, and the result says so.

    Raises:
        AttributeFileError: absent, malformed, empty, or with duplicates; two files for one dataset.
    """
    path, fallback = _find(name_or_path, dataset)
    raw, content = _read_object(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        found = content.get("schema_version")
        raise _malformed(path, f"wanted schema_version {SCHEMA_VERSION}, got {found!r}")
    per_class = content.get("per_class") or {}
    if not isinstance(per_class, dict):
        raise _malformed(path, "'per_class' is no object of class names")
    return AttributeSet(
        words=_checked_words(content.get("attributes"), path, "'attributes'"),
        domain=str(content.get("domain", "")),
        source=path,
        sha256=digest_bytes(raw),
        per_class={
            c: _checked_words(w, path, f"'per_class' of '{c}'") for c, w in per_class.items()
        },
        fallback=fallback,
    )


def _plain(name: str) -> str:
    """Return a class name as prompts write it."""
    return name.replace("_", " ").strip().lower()


def _first(words: tuple[str, ...], count: int, shuffle_seed: int, where: str) -> list[str]:
    """Return the first `count` words, shuffled where the seed is not negative."""
    if len(words) < count:
        raise AttributeFileError(
            f"{where} has {counted(len(words), 'attribute')} ({', '.join(words)}), "
            f"TRAINER.LOREAL.N_ATTRIBUTES asks for {count}"
        )
    chosen = list(words[:count])
    if shuffle_seed >= 0:
        random.Random(shuffle_seed).shuffle(chosen)
    return chosen


def _find(name_or_path: str, dataset: str) -> tuple[Path, bool]:
    """Return the file that is meant, and whether it is the generic one instead."""
    path = Path(name_or_path).expanduser()
    if name_or_path and (path.suffix or len(path.parts) > 1):
        if not path.is_file():
            raise AttributeFileError(
                f"attribute file {path} does not exist; give another path, or the name of a file in"
                " attributes/"
            )
        return path, False
    folder = bundle_root() / "attributes"
    if not name_or_path:
        own = _files_of(dataset, folder)
        if len(own) > 1:
            raise AttributeFileError(
                f"dataset '{dataset}' has several attribute files in {folder}"
                f" ({', '.join(p.name for p in own)}); name one in TRAINER.LOREAL.ATTRIBUTES"
            )
        return (own[0], False) if own else (folder / f"{GENERIC}.json", True)
    shipped = folder / f"{name_or_path}.json"
    if not shipped.is_file():
        raise AttributeFileError(
            unknown_name("attribute file", name_or_path, available_attributes())
        )
    return shipped, False


def _files_of(dataset: str, folder: Path) -> list[Path]:
    """Return the files of a folder that are for a dataset, by their field or their name."""
    wanted, found = _key(dataset), []
    for path in sorted(folder.glob("*.json")):
        if path.stem == GENERIC:
            continue
        names = _read_object(path)[1].get("dataset")
        names = names if isinstance(names, list) else [names]
        if wanted in {_key(str(name)) for name in [path.stem, *names]}:
            found.append(path)
    return found


def _key(dataset: str) -> str:
    """Return what counts in a name: letters and digits; `<X>Heldout` is a part of X's data."""
    return "".join(c for c in dataset.lower() if c.isalnum()).removesuffix("heldout")


def _read_object(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a file's bytes and the JSON object in it."""
    try:
        raw = path.read_bytes()
        content = json.loads(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AttributeFileError(f"attribute file {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise _malformed(path, f"wanted a JSON object, got {type(content).__name__}")
    return raw, content


def _malformed(path: Path, fault: str) -> AttributeFileError:
    """Return the error for a file that is not of the format."""
    return AttributeFileError(
        f"attribute file {path}: {fault}; docs/ATTRIBUTES.md describes the format"
    )


def _checked_words(words: Any, path: Path, where: str) -> tuple[str, ...]:
    """Return the words without superfluous spaces; AttributeFileError says what is wrong."""
    if not isinstance(words, list) or not words:
        raise _malformed(path, f"{where} is no list of words, or empty")
    clean = []
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise _malformed(path, f"{where} has {word!r}, which is no word")
        clean.append(" ".join(word.split()))
    lower = [word.lower() for word in clean]
    repeated = sorted({word for word in lower if lower.count(word) > 1})
    if repeated:
        raise _malformed(path, f"{where} repeats {', '.join(repeated)}")
    return tuple(clean)
