"""What an attribute must be: short, distinct, no class name, visible in a small picture."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_WORDS, MAX_LETTERS = 3, 32
MAX_DESCRIPTION_WORDS, MAX_REASON_LETTERS = 80, 300

_PHRASE = re.compile(r"[a-z]+(?:[ -][a-z]+)*", re.IGNORECASE)
_MARKUP = re.compile(r"[<>{}\[\]`|\\]|://|[\x00-\x08\x0b-\x1f\x7f]")
# Words of a sentence or of a list, never of a short noun phrase.
_NO_PHRASE = frozenset(
    "the a an and or but is are was be has have with without that this these you your it its not no"
    " do does must should please ignore disregard forget instead previous all any".split()
)
# What a photo of a hundred pixels a side no longer shows, whatever the domain.
FINE_WORDS = frozenset(
    "texture logo emblem badge insignia lettering letter text inscription label writing whisker"
    " eyelash eyebrow eye iris pupil nostril tooth claw vein pore stitch stitching thread weave"
    " grain wrinkle freckle scratch rivet bolt screw zipper seam bristle stamen pollen engraving"
    " microstructure".split()
)
FINE_PHRASES = (
    "license plate",
    "number plate",
    "serial number",
    "registration number",
    "tail number",
)
_IRREGULAR = {
    "teeth": "tooth",
    "colour": "color",
    "colours": "color",
    "colored": "color",
    "leaves": "leaf",
}


def stem(word: str) -> str:
    """Return a word in lower case, singular, American spelling: enough to find doubles."""
    word = word.lower()
    word = _IRREGULAR.get(word, word)
    for ending, instead in (
        ("ies", "y"),
        ("sses", "ss"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("xes", "x"),
        ("s", ""),
    ):
        rest = len(word) - len(ending)
        if (
            word.endswith(ending)
            and not word.endswith("ss")
            and rest >= (3 if ending == "s" else 2)
        ):
            return word[:rest] + instead
    return word


def stems(text: str) -> list[str]:
    """Return the stems of a phrase's words; underscores and hyphens part words."""
    return [stem(word) for word in re.split(r"[\s_\-]+", text.strip()) if word]


def word_faults(
    words: Sequence[str], *, classnames: Sequence[str] = (), domain: str = ""
) -> list[str]:
    """Return what is wrong with attributes, one sentence a fault; an empty list is a pass.

    Args:
        words: the attributes.
        classnames: names that no attribute may be or contain.
        domain: its own words are never too fine: a dataset of textures may speak of texture.
    """
    faults = [fault for word in words for fault in _phrase_faults(word)]
    faults += _double_faults(words)
    names = {tuple(stems(name)): name for name in classnames if stems(name)}
    own = set(stems(domain))
    for word in words:
        parts = stems(word)
        runs = {tuple(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
        faults += [
            f"'{word}' contains the class name '{names[run]}'"
            for run in sorted(runs & names.keys())
        ]
        fine = sorted((FINE_WORDS & set(parts)) - own)
        fine += [p for p in FINE_PHRASES if tuple(stems(p)) in runs]
        faults += [f"'{word}' is too fine for a small picture ('{f}')" for f in fine]
    return faults


def _phrase_faults(word: str) -> list[str]:
    """Return what keeps one attribute from being a short noun phrase."""
    if not word.strip():
        return ["an attribute is empty"]
    shown = word if len(word) <= 60 else word[:57] + "..."
    if not _PHRASE.fullmatch(word):
        return [f"'{shown}' is no noun phrase: letters, single spaces and hyphens only"]
    parts = word.split()
    if len(parts) > MAX_WORDS or len(word) > MAX_LETTERS:
        return [f"'{shown}' is too long: at most {MAX_WORDS} words and {MAX_LETTERS} letters"]
    odd = [part for part in parts if part.lower() in _NO_PHRASE]
    return [f"'{word}' is no noun phrase: it has '{odd[0]}'"] if odd else []


def _double_faults(words: Sequence[str]) -> list[str]:
    """Return the attributes that say the same, whatever the plural, spelling and word order."""
    seen: dict[frozenset[str], str] = {}
    faults = []
    for word in words:
        key = frozenset(stems(word)) - {"of"}
        if key in seen:
            faults.append(f"'{word}' repeats '{seen[key]}'")
        seen.setdefault(key, word)
    return faults


def description_fault(text: str) -> str:
    """Return what is wrong with a class description, "" when nothing is."""
    if not text.strip():
        return "is empty"
    if _MARKUP.search(text):
        return "has markup, a link or control characters; plain sentences are wanted"
    count = len(text.split())
    if count > MAX_DESCRIPTION_WORDS:
        return f"has {count} words; at most {MAX_DESCRIPTION_WORDS}"
    return ""


def tidy(text: str, limit: int = MAX_REASON_LETTERS) -> str:
    """Return a text on one line without control characters, cut at `limit` letters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."
