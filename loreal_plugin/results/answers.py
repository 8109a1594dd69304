"""How a record packs the answers to test pictures: `hits`, `mistaken` and `labels`.

docs/RESULTS_SCHEMA.md has the form in words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loreal_plugin.results.record import ScoreFacts


def score_facts(labels: Sequence[int], predicted: Sequence[int]) -> ScoreFacts:
    """Return accuracy in percent with its counts, which pictures were right, and what was predicted
    for the others.

    Args:
        labels: what the N pictures show.
        predicted: the N predicted labels.
    """
    hits = [a == b for a, b in zip(labels, predicted, strict=True)]
    correct, total = sum(hits), len(hits)
    return {
        "accuracy": 100 * correct / total,
        "correct": correct,
        "total": total,
        "hits": pack_bits(hits),
        "mistaken": pack_labels([b for b, hit in zip(predicted, hits, strict=True) if not hit]),
    }


def pack_labels(labels: Sequence[int]) -> str:
    """Return labels with a space between them: a list would take a line of the file for each."""
    return " ".join(str(int(label)) for label in labels)


def pack_bits(hits: list[bool]) -> str:
    """Return truth values as hexadecimal, the first one highest, filled up with 0 to bytes."""
    text = "".join("1" if hit else "0" for hit in hits)
    text += "0" * (-len(text) % 8)
    return f"{int(text, 2):0{len(text) // 4}x}" if text else ""


def decode_hits(text: str, total: int) -> np.ndarray:
    """Return the answers (total,) bool of a record's `hits`.

    Raises:
        ValueError: the text is no hexadecimal, or is too short or long for `total` pictures.
    """
    packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    if len(packed) != -(-total // 8):
        raise ValueError(f"{len(packed)} bytes cannot be the answers to {total} pictures")
    return np.unpackbits(packed, count=total).astype(bool)
