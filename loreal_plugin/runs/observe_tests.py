"""What a host's trainer says of its tests: accuracies, and the predicted class of each picture."""

from __future__ import annotations

from typing import Any

import torch

from loreal_plugin.errors import DataError
from loreal_plugin.results.answers import score_facts
from loreal_plugin.results.record import ScoreFacts
from loreal_plugin.runs.finite import list_pictures

Answers = list[tuple[int, int]]  # (label, predicted label) of each picture


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
    """Return accuracy in percent to full precision with its counts, and what was predicted for each
    picture.

    Args:
        answers: from `record_answers`; left out where the host's evaluator did not see the test
            pictures one by one.
    """
    total = len(trainer.dm.dataset.test)
    correct = round(accuracy / 100 * total)
    if (len(answers), sum(label == predicted for label, predicted in answers)) == (total, correct):
        return score_facts(*zip(*answers, strict=True))
    return {"accuracy": 100 * correct / total, "correct": correct, "total": total}


def record_answers(trainer: Any) -> Answers:
    """Let the trainer's evaluator note label and predicted label of the pictures of its last test,
    in the list that is returned.

    Raises:
        DataError: (in a test) logits of pictures are not finite; their largest would be taken for
            a prediction. The pictures are named.
    """
    answers: Answers = []
    evaluator = trainer.evaluator
    reset, process = evaluator.reset, evaluator.process

    def noting_reset() -> None:
        answers.clear()
        reset()

    def noting_process(output: torch.Tensor, labels: torch.Tensor) -> None:
        _check_finite(trainer, output, len(answers))
        answers.extend(zip(labels.tolist(), output.argmax(1).tolist(), strict=True))
        process(output, labels)

    evaluator.reset, evaluator.process = noting_reset, noting_process
    return answers


def _check_finite(trainer: Any, output: torch.Tensor, start: int) -> None:
    """Raise DataError where logits (B, C) of the test pictures from `start` on are not finite."""
    rows = (~torch.isfinite(output).all(1)).nonzero().flatten().tolist()
    if not rows:
        return
    pictures = trainer.dm.dataset.test
    names = [str(pictures[start + i].impath) for i in rows if start + i < len(pictures)]
    raise DataError(
        f"{trainer.cfg.TRAINER.NAME} gives numbers that are not finite for {list_pictures(names)};"
        " look at them, or compute in full precision (PREC fp32)"
    )
