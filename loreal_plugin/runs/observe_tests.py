"""What a host's trainer says of its tests: accuracies, and what each picture was called."""

from __future__ import annotations

from typing import Any

import torch

from loreal_plugin.errors import DataError
from loreal_plugin.results.record import ScoreFacts
from loreal_plugin.runs.finite import named
from loreal_plugin.runs.records import score_facts

Answers = list[tuple[int, int]]  # (label, what it was called), a picture each


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


def score_of(trainer: Any, accuracy: float, answers: Answers) -> ScoreFacts:
    """Return accuracy in percent to full precision with its counts, and what each picture was
    called.

    Args:
        answers: from `record_answers`; left out where the host's evaluator did not see the test
            pictures one by one.
    """
    total = len(trainer.dm.dataset.test)
    correct = round(accuracy / 100 * total)
    if (len(answers), sum(shown == called for shown, called in answers)) == (total, correct):
        return score_facts(*zip(*answers, strict=True))
    return {"accuracy": 100 * correct / total, "correct": correct, "total": total}


def record_answers(trainer: Any) -> Answers:
    """Let the trainer's evaluator note, in the list that is returned, what the pictures of its last
    test show and what they were called.

    Raises:
        DataError: (in a test) what the model says of pictures is no finite number: calling them by
            the first class would count as an answer. They are named.
    """
    answers: Answers = []
    evaluator = trainer.evaluator
    reset, process = evaluator.reset, evaluator.process

    def restart() -> None:
        answers.clear()
        reset()

    def take(output: torch.Tensor, labels: torch.Tensor) -> None:
        _check_finite(trainer, output, len(answers))
        answers.extend(zip(labels.tolist(), output.argmax(1).tolist(), strict=True))
        process(output, labels)

    evaluator.reset, evaluator.process = restart, take
    return answers


def _check_finite(trainer: Any, output: torch.Tensor, start: int) -> None:
    """Raise DataError where logits (B, C) of the test pictures from `start` on are not finite."""
    rows = (~torch.isfinite(output).all(1)).nonzero().flatten().tolist()
    if not rows:
        return
    pictures = trainer.dm.dataset.test
    names = [str(pictures[start + i].impath) for i in rows if start + i < len(pictures)]
    raise DataError(
        f"{trainer.cfg.TRAINER.NAME} gives numbers that are not finite for {named(names)}; look at"
        " them, or compute in full precision (PREC fp32)"
    )
