"""LOREAL against each baseline on the same pictures: gain, intervals over pictures and over seeds,
paired test.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import Block, Cell, Table, method_name
from loreal_plugin.results.protocols import HALVES, judged
from loreal_plugin.results.reader import ZERO_SHOT_METHOD
from loreal_plugin.results.statistics import (
    Interval,
    harmonic_means,
    holm,
    paired_p_value,
    picture_interval,
    seed_interval,
)

NOTE = (
    "LOREAL against each baseline. Gain: points of HM (base-to-new) or of mean accuracy over the"
    " test sets, LOREAL minus the other, over common seeds. Intervals of 95 %: over pictures by"
    " paired bootstrap with the seeds kept; over seeds Student's t. p: McNemar's exact test of all"
    " test pictures for one seed; with several, random sign flips of each picture's difference"
    " summed over seeds. p (Holm): adjusted for the number of lines in the table."
)
NO_ANSWERS = (
    "no answers by picture stored (records of an older release); base2new_test.sh writes them"
    " without training"
)


@dataclass(frozen=True)
class Comparison:
    """One comparison over common seeds; intervals and p are None where the answers by picture are
    not stored.
    """

    ours: Group
    other: Group
    gain: float
    pictures: Interval | None
    seeds: Interval | None
    p: float | None
    gains: tuple[float, ...]

    @property
    def n_seeds(self) -> int:
        """Return over how many seeds it goes."""
        return len(self.gains)

    @property
    def same_sign(self) -> bool:
        """Return whether every seed says the same of which is better."""
        return all(gain > 0 for gain in self.gains) or all(gain < 0 for gain in self.gains)


def compare(ours: Group, other: Group) -> Comparison | None:
    """Return the comparison of two rows, None without a common seed or a common test set."""
    if other.setting.method == ZERO_SHOT_METHOD and other.seeds == (0,):
        # nothing was trained, so the same result stands beside every seed
        other = replace(
            other, results=tuple(replace(other.results[0], seed=seed) for seed in ours.seeds)
        )
    common = sorted(set(ours.seeds) & set(other.seeds))
    sets = judged_sets(ours, other)
    if not common or not sets:
        return None
    mine = {result.seed: result.summary for result in ours.results}
    theirs = {result.seed: result.summary for result in other.results}
    gains = [mine[seed] - theirs[seed] for seed in common]
    # answers by picture (N, R), columns in the order of `common`
    answers = [(ours.answers(name, common), other.answers(name, common)) for name in sets]
    pairs = [(a, b) for a, b in answers if a is not None and b is not None and a.shape == b.shape]
    interval, p = None, None
    if len(pairs) == len(sets):  # a part of the test sets says nothing about the summary
        interval = _gain_interval(pairs, harmonic=set(sets) == set(HALVES))
        p = paired_p_value(
            np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])
        )
    return Comparison(
        ours, other, statistics.fmean(gains), interval, seed_interval(gains), p, tuple(gains)
    )


def judged_sets(ours: Group, other: Group) -> list[str]:
    """Return the test sets of the summary: the targets, or all where no role is told."""
    first = ours.results[0]
    names = judged(first.scores, first.roles)
    return [name for name in names if name in other.results[0].scores]


def summary_interval(group: Group) -> Interval | None:
    """Return the interval over pictures of a row's summary, its seeds kept; None without answers by
    picture.
    """
    sets = judged_sets(group, group)
    parts = [part for name in sets if (part := group.answers(name)) is not None]
    if not parts or len(parts) < len(sets):
        return None

    def summary(means: Sequence[np.ndarray]) -> np.ndarray:
        whole = (
            harmonic_means(means[0], means[1])
            if set(sets) == set(HALVES)
            else np.mean(means, axis=0)
        )
        return whole.mean(1)

    return picture_interval(parts, summary)


def _gain_interval(pairs: Sequence[tuple[np.ndarray, np.ndarray]], harmonic: bool) -> Interval:
    """Return the interval over pictures of the gain; the columns of a part are our seeds, then
    theirs.
    """
    n_seeds = pairs[0][0].shape[1]

    def gain(means: Sequence[np.ndarray]) -> np.ndarray:
        whole = harmonic_means(means[0], means[1]) if harmonic else np.mean(means, axis=0)
        return whole[:, :n_seeds].mean(1) - whole[:, n_seeds:].mean(1)

    return picture_interval([np.concatenate(pair, axis=1) for pair in pairs], gain)


def comparisons(block: Block) -> list[Comparison]:
    """Return LOREAL against every other row of the same method, dataset and block that reads small
    pictures.
    """
    found = []
    for ours in (g for g in block.groups if g.row == "loreal"):
        for _, _, others in block.scored_lines():
            for other in others:
                same = other.setting.dataset == ours.setting.dataset
                mine = other.setting.method in (ours.setting.method, ZERO_SHOT_METHOD)
                if same and mine and other.low and other.row != "loreal":
                    comparison = compare(ours, other)
                    found += [comparison] if comparison else []
    return sorted(found, key=lambda c: (c.ours.setting.dataset, c.ours.setting.method))


def comparison_table(block: Block) -> Table | None:
    """Return the table of a block's comparisons, None where there is nothing to compare."""
    found = comparisons(block)
    if not found:
        return None
    adjusted = iter(holm([c.p for c in found if c.p is not None]))
    body = []
    for c in found:
        p_holm = "-" if c.p is None else p_text(next(adjusted))
        cells = [
            c.ours.setting.dataset,
            c.ours.setting.method,
            f"{method_name(c.other.setting.method)}: {c.other.label}",
            f"{c.gain:+.2f}",
            "-" if c.pictures is None else str(c.pictures),
            "-" if c.seeds is None else str(c.seeds),
            "-" if c.p is None else p_text(c.p),
            p_holm,
            str(c.n_seeds),
        ]
        body.append(tuple(map(Cell, cells)))
    head = (
        "dataset",
        "method",
        "against",
        "gain",
        "95 % over pictures",
        "95 % over seeds",
        "p",
        "p (Holm)",
        "seeds",
    )
    missing = sum(c.p is None for c in found)
    notes = (f"{missing} of {len(found)} lines: {NO_ANSWERS}.",) if missing else ()
    return Table(
        f"LOREAL against each baseline, {block.title}", head, tuple(body), words=3, notes=notes
    )


def difference_cells(comparison: Comparison | None) -> list[str]:
    """Return gain, interval over pictures and p for a table; dashes for what is not known."""
    if comparison is None:
        return ["-", "-", "-"]
    interval = "-" if comparison.pictures is None else str(comparison.pictures)
    return [
        f"{comparison.gain:+.2f}",
        interval,
        "-" if comparison.p is None else p_text(comparison.p),
    ]


def p_text(p: float) -> str:
    """Return a p-value for a table."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
