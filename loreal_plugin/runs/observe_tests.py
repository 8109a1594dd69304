"""What a host's trainer says of its tests: accuracies, and which pictures were right."""

from __future__ import annotations

from typing import Any

import torch

from loreal_plugin.results.record import ScoreFacts
from loreal_plugin.runs.records import score_facts


def record_tests(trainer: Any) -> list[float]:
    """Let `trainer.test` note its accuracy on the test split in the list that is returned."""
    original, found = trainer.test, []

    def test(split: str | None = None) -> float:
        accuracy = original(split) if split is not None else original()
        if split in (None, "test"):
            found.append(accuracy)
        return accuracy

    trainer.test = test
    return found


def score_of(trainer: Any, accuracy: float, hits: list[bool]) -> ScoreFacts:
    """Return accuracy in percent to full precision with its counts, and which pictures were right.

    Args:
        hits: from `record_hits`; left out where the host's evaluator did not see the test pictures
            one by one.
    """
    total = len(trainer.dm.dataset.test)
    correct = round(accuracy / 100 * total)
    if (len(hits), sum(hits)) == (total, correct):
        return score_facts(hits)
    return {"accuracy": 100 * correct / total, "correct": correct, "total": total}


def record_hits(trainer: Any) -> list[bool]:
    """Let the trainer's evaluator note, in the list that is returned, which pictures of its last
    test were right.
    """
    hits: list[bool] = []
    evaluator = trainer.evaluator
    reset, process = evaluator.reset, evaluator.process

    def restart() -> None:
        hits.clear()
        reset()

    def take(output: torch.Tensor, labels: torch.Tensor) -> None:
        hits.extend((output.argmax(1) == labels).tolist())
        process(output, labels)

    evaluator.reset, evaluator.process = restart, take
    return hits
