"""Class sets as they are named on the command line: test sets of the run, or files of names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.runs.trained_run import TrainedRun


def class_sets(trained: TrainedRun, plan: Any) -> Iterator[tuple[str, str | list[str]]]:
    """Yield name and classes of each head that a plan asks for.

    Raises:
        ConfigError: neither a test set of the run nor a file of names; two of one name.
    """
    seen: set[str] = set()
    for word in plan.classes or (trained.deployment.trained_on,):
        name, classes = class_set(trained, word)
        if name in seen:
            raise ConfigError(f"two class sets have the name '{name}'; rename one of the files")
        seen.add(name)
        yield name, classes


def class_set(trained: TrainedRun, word: str) -> tuple[str, str | list[str]]:
    """Return name and classes of a test set of the run, or of a file of names.

    Raises:
        ConfigError: it is neither.
    """
    known = trained.deployment.classnames
    if word in known:
        return word, word
    if not Path(word).is_file():
        raise ConfigError(f"{unknown_name('test set of the run', word, known)}, and no file")
    return head_name(Path(word)), read_names(Path(word))


def head_name(path: Path) -> str:
    """Return a name for a head from the name of the file with its classes."""
    return re.sub(r"[^\w.-]+", "-", path.stem).strip("-.") or "classes"


def read_names(path: Path) -> list[str]:
    """Return the class names of a file: a name a line, or a JSON list of texts.

    Raises:
        ConfigError: it cannot be read, has no name, or a name twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a list of class names: {error}") from None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{path} must be a JSON list of class names")
    names = [name.strip() for name in found if name.strip()]
    if not names:
        raise ConfigError(f"{path} has no class name; write one a line")
    return unique(names, str(path))


def unique(names: Sequence[str], where: str) -> list[str]:
    """Return class names; ConfigError where two are alike as people write them."""
    plain = [name.replace("_", " ") for name in names]
    twice = sorted({name for name in plain if plain.count(name) > 1})
    if twice:
        raise ConfigError(f"{where} has a class twice: {', '.join(twice[:5])}")
    return list(names)
