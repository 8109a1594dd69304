"""Reading a model's answers: data that is validated, never followed."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loreal_plugin.mining.words import description_fault, stems, tidy, word_faults
from loreal_plugin.plain_output import counted

MAX_VALUES = 12
_VALUE = re.compile(r"[a-z][a-z -]{0,30}")


class AnswerFault(Exception):
    """An answer that cannot be used at all; its text is what the model is told."""


@dataclass
class Descriptions:
    """Step 1's answer: what could be used, what is missing, and what was wrong with the rest."""

    found: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Proposal:
    """Step 2's answer: attribute -> reason, in the answer's order, and attribute -> values."""

    kept: dict[str, str]
    vanished: dict[str, str]
    values: dict[str, list[str]]


def read_object(text: str) -> dict[str, Any]:
    """Return the one JSON object of an answer.

    A code fence or prose around it is dropped unread; two objects, or a broken one, are a fault,
    because a guess would decide which one is meant.

    Raises:
        AnswerFault: none, several, or one with a repeated key.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    start = text.find("{")
    if start < 0:
        raise AnswerFault("it had no JSON object")
    try:
        value, end = decoder.raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnswerFault(f"its JSON was broken ({error})") from error
    if "{" in text[end:]:
        raise AnswerFault("it had more than one JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    double = sorted({key for key in keys if keys.count(key) > 1})
    if double:
        raise AnswerFault(f"its JSON repeated the key '{tidy(double[0], 60)}'")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise AnswerFault(f"its JSON had {name}")


def class_key(name: str) -> str:
    """Return what makes two spellings of a name equal: case, underscores, Unicode form."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").casefold().split())


def read_descriptions(text: str, names: Sequence[str]) -> Descriptions:
    """Return the descriptions of the classes that were asked for.

    Of a class that is described twice the first description counts.

    Raises:
        AnswerFault: nothing in the answer can be used.
    """
    entries = _entries(read_object(text), "descriptions", ("class", "description"))
    wanted = {class_key(name): name for name in names}
    answer = Descriptions()
    for entry in entries:
        name = wanted.get(class_key(entry["class"]))
        shown = tidy(entry["class"], 60)
        if name is None:
            answer.faults.append(f"'{shown}' is none of the classes asked for")
        elif name in answer.found:
            answer.faults.append(f"class '{shown}' was described twice")
        elif fault := description_fault(entry["description"]):
            answer.faults.append(f"the description of '{shown}' {fault}")
        else:
            answer.found[name] = tidy(entry["description"], 1000)
    answer.missing = [name for name in names if name not in answer.found]
    if answer.missing:
        answer.faults.append(
            f"no usable description of {', '.join(repr(n) for n in answer.missing)}"
        )
    return answer


def read_proposal(
    text: str, k: int, classnames: Sequence[str], domain: str
) -> tuple[Proposal, list[str]]:
    """Return step 2's attributes and what is wrong with them.

    Raises:
        AnswerFault: the answer has not the form that was asked for.
    """
    content = read_object(text)
    kept, vanished = (
        _entries(content, part, ("attribute", "reason")) for part in ("kept", "vanished")
    )
    words = [" ".join(entry["attribute"].split()) for entry in kept]
    faults = (
        [] if len(words) == k else [f"{counted(len(words), 'attribute')} kept, exactly {k} wanted"]
    )
    faults += word_faults(words, classnames=classnames, domain=domain)
    gone = {
        tidy(entry["attribute"], 60): tidy(entry["reason"])
        for entry in vanished
        if entry["attribute"].strip()
    }
    both = sorted({w for w in words for v in gone if frozenset(stems(w)) == frozenset(stems(v))})
    faults += [f"'{word}' is both kept and vanished" for word in both]
    if not gone:
        faults.append("no vanished attribute was named")
    reasons = [tidy(entry["reason"]) for entry in kept]
    faults += [
        f"'{tidy(w, 60)}' has no reason"
        for w, reason in zip(words, reasons, strict=True)
        if not reason
    ]
    values = {
        " ".join(e["attribute"].lower().split()): _values(e.get("values"))
        for e in [*vanished, *kept]
    }
    return (
        Proposal(
            kept={w.lower(): r for w, r in zip(words, reasons, strict=True)},
            vanished=gone,
            values={w: v for w, v in values.items() if len(v) > 1},
        ),
        faults,
    )


def _values(found: Any) -> list[str]:
    """Return the usable values of an attribute; a bad one is dropped: only scoring reads them."""
    listed = found if isinstance(found, list) else []
    texts = [" ".join(v.split()).lower() for v in listed if isinstance(v, str)]
    return [v for v in dict.fromkeys(texts) if _VALUE.fullmatch(v)][:MAX_VALUES]


def _entries(content: dict[str, Any], part: str, keys: tuple[str, str]) -> list[dict[str, str]]:
    """Return the list `part` of an answer, every entry an object with two texts.

    Raises:
        AnswerFault: it is anything else.
    """
    entries = content.get(part)
    if not isinstance(entries, list):
        raise AnswerFault(f"it had no list '{part}'")
    for entry in entries:
        if not isinstance(entry, dict) or any(not isinstance(entry.get(key), str) for key in keys):
            raise AnswerFault(
                f"an entry of '{part}' was no object with the texts '{keys[0]}' and '{keys[1]}'"
            )
    return entries
