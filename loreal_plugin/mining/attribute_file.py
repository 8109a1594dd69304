"""Attribute files as a whole: class lists, the checks of a file, writing one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loreal_plugin.attributes import AttributeSet, load_attributes
from loreal_plugin.errors import AttributeFileError, ConfigError, MiningError, unknown_name
from loreal_plugin.files import write_json
from loreal_plugin.mining.answers import class_key
from loreal_plugin.mining.prompt_tokens import (
    CONTEXT_LENGTH,
    budget_fault,
    count_tokens,
    prompt_parts,
)
from loreal_plugin.mining.words import description_fault, stems, word_faults
from loreal_plugin.options import LorealOptions
from loreal_plugin.plain_output import counted


@dataclass(frozen=True)
class AttributeFile:
    """A file that could be read: the checked words, and everything else that is in it."""

    words: AttributeSet
    content: dict[str, Any]

    @property
    def classnames(self) -> list[str]:
        """The class names it lists, or none."""
        names = self.content.get("classnames") or []
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def descriptions(self) -> dict[str, str]:
        """Class name -> description, or nothing."""
        found = self.content.get("descriptions") or {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def rejected(self) -> dict[str, str]:
        """Rejected candidate -> reason, or nothing."""
        found = self.content.get("rejected") or {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def values(self) -> dict[str, list[str]]:
        """Word -> values it can take, where the file has two or more."""
        found = self.content.get("values") or {}
        if not isinstance(found, dict):
            return {}
        lists = {str(w): v for w, v in found.items() if isinstance(v, list) and len(v) > 1}
        return {word: [str(value) for value in listed] for word, listed in lists.items()}


@dataclass
class Verdict:
    """What is wrong with a file, and what is worth knowing."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_attribute_file(name_or_path: str, dataset: str = "") -> AttributeFile:
    """Return a file by path, shipped name, or (empty name) dataset.

    Raises:
        AttributeFileError: see `load_attributes`.
    """
    words = load_attributes(name_or_path, dataset)
    return AttributeFile(words, json.loads(words.source.read_text(encoding="utf-8")))


def read_class_list(path: Path) -> list[str]:
    """Return the class names of a file: one a line, or a JSON list.

    Empty lines and lines that begin with # are left out.

    Raises:
        MiningError: it cannot be read, is empty or names a class twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MiningError(f"class names {path} cannot be read: {error}") from error
    if any(not isinstance(name, str) for name in names):
        raise MiningError(f"class names {path}: a JSON list of texts is wanted")
    names = [
        " ".join(name.split())
        for name in names
        if name.strip() and not name.lstrip().startswith("#")
    ]
    if not names:
        raise MiningError(f"class names {path}: there are none; write one a line")
    keys = [class_key(name) for name in names]
    double = next(
        (name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1), None
    )
    if double is not None:
        raise MiningError(
            f"class names {path}: '{double}' is there twice; every class needs a name of its own"
        )
    return names


def check_attribute_file(
    file: AttributeFile,
    classnames: Sequence[str] = (),
    *,
    k: int = 0,
    n_content: int = 0,
    order: str = "class_first",
) -> Verdict:
    """Return what step 3 of mining would say of a file.

    Args:
        classnames: of the dataset; by default those in the file.
        k: attributes in a prompt; 0 = training's default, or all where the file has fewer.
        n_content: content tokens in a slot; 0 = training's default.
        order: of the slots, see SLOT_ORDER.
    """
    names = list(classnames) or file.classnames
    words, verdict = list(file.words.words), Verdict()
    verdict.faults += word_faults(words, classnames=names, domain=file.words.domain)
    both = {w for w in words for r in file.rejected if frozenset(stems(w)) == frozenset(stems(r))}
    verdict.faults += [f"'{word}' is both an attribute and rejected" for word in sorted(both)]
    reasons = file.content.get("reasons") or {}
    verdict.notes += [f"no reason is given for '{word}'" for word in words if not reasons.get(word)]
    _check_descriptions(file, names, verdict)
    _check_per_class(file, names, verdict)
    layout = {"n_content": n_content or LorealOptions.n_content, "order": order}
    _check_budget(file, names, k, layout, verdict)
    return verdict


def _check_descriptions(file: AttributeFile, names: Sequence[str], verdict: Verdict) -> None:
    known = {class_key(name) for name in names}
    found = {class_key(name) for name in file.descriptions}
    if known:
        unknown = [name for name in file.descriptions if class_key(name) not in known]
        verdict.faults += [f"a description is of '{name}', which is no class" for name in unknown]
        missing = [name for name in names if class_key(name) not in found]
        if found and missing:
            verdict.notes.append(
                f"{len(missing)} of {len(names)} classes have no description ('{missing[0]}', ...)"
            )
    for name, text in file.descriptions.items():
        fault = description_fault(text)
        verdict.faults += [f"the description of '{name}' {fault}"] if fault else []


def _check_per_class(file: AttributeFile, names: Sequence[str], verdict: Verdict) -> None:
    known = {class_key(name) for name in names}
    for name, words in file.words.per_class.items():
        if known and class_key(name) not in known:
            verdict.faults.append(f"per-class words are of '{name}', which is no class")
        faults = word_faults(words, classnames=[name], domain=file.words.domain)
        verdict.faults += [f"class '{name}': {fault}" for fault in faults]
    if known and file.words.per_class:
        missing = known - {class_key(name) for name in file.words.per_class}
        verdict.notes += [f"{len(missing)} class(es) have no words of their own"] if missing else []


def _check_budget(
    file: AttributeFile, names: Sequence[str], k: int, layout: dict[str, Any], verdict: Verdict
) -> None:
    """Check that the longest prompt fits, or say how much room there is where no class is known."""
    words = list(file.words.words)
    k = k or min(LorealOptions.n_attributes, len(words))
    if k > len(words):
        verdict.faults.append(f"{counted(k, 'attribute')} asked for, the file has {len(words)}")
        return
    if not names:
        room = CONTEXT_LENGTH - count_tokens(prompt_parts("x", words[:k], **layout)) + 1
        verdict.notes.append(
            f"no class names are known; with {counted(k, 'attribute')} a class name may have"
            f" {counted(room, 'token')}"
        )
        return
    checks = [(words[:k], list(names))]
    checks += [(list(own[:k]), [name]) for name, own in file.words.per_class.items()]
    for of_prompt, of_classes in checks:
        fault = budget_fault(of_prompt, of_classes, **layout)
        verdict.faults += [fault] if fault else []
    foreign = [name for name in names if not name.isascii()]
    if foreign:
        verdict.notes.append(
            f"{len(foreign)} class name(s) are not English ('{foreign[0]}'): CLIP spells them in"
            " bytes and knows few"
        )


def find_class(name: str, names: Sequence[str]) -> str:
    """Return the class that is meant, in the dataset's spelling.

    Raises:
        AttributeFileError: there is none; the nearest is offered.
    """
    by_key = {class_key(known): known for known in names}
    if class_key(name) not in by_key:
        shown = list(by_key.values())
        text = unknown_name("class", name, shown)
        raise AttributeFileError(
            text if len(shown) <= 40 else f"{text.split(' (known')[0]} ({len(shown)} classes)"
        )
    return by_key[class_key(name)]


def refuse_overwriting(path: Path, force: bool) -> None:
    """Raise ConfigError where a file is there and may not be replaced."""
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already; --force replaces it, --out names another file")


def write_attribute_file(path: Path, content: dict[str, Any], *, force: bool) -> None:
    """Write a file whole or not at all, and never over another one unless forced.

    Raises:
        ConfigError: it exists.
        LorealError: it cannot be written.
    """
    refuse_overwriting(path, force)
    write_json(path, content)
