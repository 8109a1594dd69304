"""How good a model is on pictures that no training saw: accuracy, recalls, confusions.

What `loreal fit` says of held-out pictures and what tables and reports say of test sets is counted
here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tabulate import tabulate

from loreal_plugin.plain_output import counted
from loreal_plugin.results.answers import decode_hits

CONFIDENCE = 0.95
_CLASSES_SHOWN, _CONFUSIONS_SHOWN = 20, 8
_REPEATED = 2  # pictures: a confusion of fewer may be chance
T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What a model predicted for N pictures.

    Attributes:
        classnames: C names in the order of labels.
        labels: what the pictures show, N labels.
        predicted: what the model predicted, N labels.
    """

    classnames: Sequence[str]
    labels: Sequence[int]
    predicted: Sequence[int]

    @property
    def names(self) -> list[str]:
        """Names to be shown, in the order of labels: those that several classes share say which."""
        counts = Counter(self.classnames)
        return [
            f"{name} (label {label})" if counts[name] > 1 else name
            for label, name in enumerate(self.classnames)
        ]

    @property
    def correct(self) -> int:
        """Number of pictures whose predicted label is theirs."""
        return sum(a == b for a, b in zip(self.labels, self.predicted, strict=True))

    @property
    def accuracy(self) -> float:
        """Share of the pictures that are predicted rightly, percent."""
        return 100 * self.correct / len(self.labels)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on many more such pictures lies, with 95 % confidence, percent.

        Source: Wilson's interval, as scipy computes it.
        """
        from scipy.stats import binomtest

        found = binomtest(self.correct, len(self.labels)).proportion_ci(CONFIDENCE, "wilson")
        return 100 * float(found.low), 100 * float(found.high)

    def recalls(self) -> dict[int, tuple[int, int]]:
        """Return (right, pictures) by label; a class without pictures has no recall."""
        total = Counter(self.labels)
        right = Counter(a for a, b in zip(self.labels, self.predicted, strict=True) if a == b)
        return {label: (right[label], total[label]) for label in sorted(total)}

    def confusions(self) -> list[tuple[int, int, int]]:
        """Return (label, predicted label, pictures), the most frequent first."""
        pairs = Counter(p for p in zip(self.labels, self.predicted, strict=True) if p[0] != p[1])
        ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(a, b, count) for (a, b), count in ordered]

    def facts(self) -> dict[str, Any]:
        """Return all of it in JSON's types."""
        names = self.names
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "correct": self.correct,
            "pictures": len(self.labels),
            "recall": {
                names[label]: {"right": right, "pictures": total, "percent": 100 * right / total}
                for label, (right, total) in self.recalls().items()
            },
            "confusions": [
                {"class": names[a], "called": names[b], "pictures": count}
                for a, b, count in self.confusions()
            ],
        }

    def text(self) -> str:
        """Return the accuracy, the classes (the worst first) and the confusions that matter."""
        low, high = self.interval
        chance = 100 / len(self.classnames)
        head = (
            f"accuracy {self.accuracy:.1f} %: {self.correct} of {len(self.labels)} pictures that"
            f" did not train (guessing gives {chance:.1f} %; with so many pictures the true value"
            f" lies between {low:.0f} and {high:.0f} % with 95 % confidence)"
        )
        return "\n".join([head, "", self._classes(), *self._frequent()])

    def _classes(self) -> str:
        recalls = sorted(self.recalls().items(), key=lambda one: one[1][0] / one[1][1])
        shown, rest = first_of(recalls, _CLASSES_SHOWN)
        names = self.names
        rows = [[names[label], f"{100 * r / n:.0f} %", f"{r} of {n}"] for label, (r, n) in shown]
        table = tabulate(
            rows, ["class", "recall", "right"], disable_numparse=True, colalign=("left", "right")
        )
        return table + (f"\n... and {counted(rest, 'class')} with a higher recall" if rest else "")

    def frequent(self) -> list[tuple[str, str, int, int]]:
        """Return the confusions that matter: (class, predicted class, pictures, of how many)."""
        found = [one for one in self.confusions() if one[2] >= _REPEATED][:_CONFUSIONS_SHOWN]
        total, names = Counter(self.labels), self.names
        return [(names[a], names[b], count, total[a]) for a, b, count in found]

    def _frequent(self) -> list[str]:
        lines = [f"  {a} is called {b}: {count} of {n}" for a, b, count, n in self.frequent()]
        return ["", "confusions that matter", *lines] if lines else []


def first_of(lines: list[T], shown: int) -> tuple[list[T], int]:
    """Return the first lines of a table, and how many are left out."""
    # two more lines take no more room than the sentence that leaves them out
    kept = lines if len(lines) <= shown + 2 else lines[:shown]
    return kept, len(lines) - len(kept)


def decode_answers(classnames: Sequence[str], labels: str, hits: str, mistaken: str) -> Measured:
    """Return what a record says was predicted for the pictures of a test set.

    Args:
        classnames, labels: of the record's `test_sets`.
        hits, mistaken: of a score, see docs/RESULTS_SCHEMA.md.

    Raises:
        ValueError: they do not belong together.
    """
    true = [int(label) for label in labels.split()]
    right = decode_hits(hits, len(true)).tolist()
    # `mistaken` has one label for each 0 of `hits`, in their order
    wrong = iter([int(label) for label in mistaken.split()])
    predicted = [label if hit else next(wrong, -1) for label, hit in zip(true, right, strict=True)]
    outside = [label for label in (*true, *predicted) if not 0 <= label < len(classnames)]
    if outside or next(wrong, None) is not None:
        raise ValueError("predicted classes that do not fit the test set's pictures")
    return Measured(classnames, true, predicted)
