"""What has to be said beside a table: whether its numbers mean anything, and what is uncertain.

Shapes: N pictures, R = 1 run, D bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loreal_plugin.data.demo import DEMO_DATASETS, DEMO_WEIGHTS
from loreal_plugin.results.answers import decode_hits
from loreal_plugin.results.protocols import HALVES, judged
from loreal_plugin.results.run import Row, Run, Score
from loreal_plugin.results.statistics import (
    Interval,
    harmonic_means,
    percentile_interval,
    resampled_means,
)


def table_notes(run: Run) -> list[str]:
    """Return the sentences that stand below a run's table; none where there is nothing to say."""
    found = [*_inference(run), *(run.facts.get("notes") or ())]
    tested = dict.fromkeys([run["dataset"], *(run.facts.get("targets") or {})])
    strange = [
        name for name in tested if name not in DEMO_DATASETS and name not in ("all", *HALVES)
    ]
    if run.weights in DEMO_WEIGHTS and strange:
        named = ", ".join(f"'{name}'" for name in strange)
        found.append(
            f"Weights '{run.weights}' know the demonstration's drawings and words alone: on"
            f" photographs, accuracy on {named} means nothing."
        )
    return found


def _inference(run: Run) -> list[str]:
    """Return how LOREAL's row predicted, and how well that agrees with `exact`."""
    if not any(row.name == "loreal" for row in run.rows):
        return []
    mode = run.facts.get("inference") or {"INFERENCE": "exact"}
    chosen = mode.get("chosen")
    if not chosen:
        return [f"LOREAL predicts in mode '{mode['INFERENCE']}'."]
    views = f"{chosen['agreement']:.2f} % of {chosen['views']} held-out views"
    name = f"mode '{mode['INFERENCE']}', chosen at the end of stage 3"
    return [
        f"LOREAL predicts in {name}: on {views} of the training classes its class is that of exact."
    ]


def difference_interval(first: Row, second: Row, names: Sequence[str]) -> Interval:
    """Return the 95 % interval over pictures of first minus second, in points of their summary.

    Rows answer the same pictures, so they are drawn together; where a record has no answers by
    picture, each is drawn alone, which is wider.

    Args:
        names: the test sets of the summary; base and new give a harmonic mean.
    """
    rng = np.random.default_rng(0)
    means = [_means(first.scores[name], second.scores[name], rng) for name in names]
    joined = [np.stack(column) for column in zip(*means, strict=True)]  # two of (sets, D)
    if set(names) == set(HALVES):
        ours, theirs = (harmonic_means(base, new) for base, new in joined)
    else:
        ours, theirs = (column.mean(0) for column in joined)
    return percentile_interval(ours - theirs)


def summary_sets(run: Run) -> list[str]:
    """Return the test sets that a run's summary is made of: its targets, or all."""
    return judged(run.test_sets, run.roles)


def _means(first: Score, second: Score, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return resampled accuracies (D,) of two rows on one test set."""
    if first.hits and second.hits and first.total == second.total:
        answers = [decode_hits(one.hits or "", one.total) for one in (first, second)]
        drawn = resampled_means(np.stack(answers, axis=1), rng)
        return drawn[:, 0], drawn[:, 1]
    alone = [
        np.arange(one.total)[:, None] < one.accuracy / 100 * one.total for one in (first, second)
    ]
    return resampled_means(alone[0], rng)[:, 0], resampled_means(alone[1], rng)[:, 0]
