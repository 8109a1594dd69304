"""Accuracy, macro F1, per-class accuracy and confusion matrix of a classifier.

Shape legend: B images, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from yacs.config import CfgNode

from dassl._plugin import DataError, replacing

from .build import EVALUATOR_REGISTRY


class EvaluatorBase(ABC):
    """What a trainer calls: `reset`, then `process` for each batch, then `evaluate`."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    @abstractmethod
    def reset(self) -> None:
        """Forget every prediction."""

    @abstractmethod
    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take the model output and the labels of one batch."""

    @abstractmethod
    def evaluate(self) -> OrderedDict[str, float]:
        """Print and return the results; the first one decides which model is best."""


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Single-label classification. All results are percentages."""

    def __init__(
        self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: object
    ) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names (lab2cname)")
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        """Forget the labels and predictions taken so far."""
        self._y_true: list[int] = []
        self._y_pred: list[int] = []

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take logits `mo` (B, C) and labels `gt` (B,)."""
        self._y_pred.extend(mo.argmax(dim=1).tolist())
        self._y_true.extend(gt.tolist())

    def evaluate(self) -> OrderedDict[str, float]:
        """Print the result lines that the family's parsers read, and return the numbers.

        Raises:
            DataError: when nothing was evaluated.
        """
        if not self._y_true:
            raise DataError("nothing to evaluate: the split has no pictures")
        true, pred = np.array(self._y_true), np.array(self._y_pred)
        correct = int((true == pred).sum())
        accuracy = 100.0 * correct / len(true)
        macro_f1 = 100.0 * macro_f1_score(true, pred)
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=macro_f1)
        print(
            "=> result\n"
            f"* total: {len(true):,}\n"
            f"* correct: {correct:,}\n"
            f"* accuracy: {accuracy:.2f}%\n"
            f"* error: {100.0 - accuracy:.2f}%\n"
            f"* macro_f1: {macro_f1:.2f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class(true, pred)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix(true, pred)
        return results

    def _per_class(self, true: np.ndarray, pred: np.ndarray) -> float:
        """Print one line for each class that occurs; return the mean of their accuracies."""
        print("=> per-class result")
        accuracies = []
        for label in np.unique(true).tolist():
            of_class = true == label
            total, correct = int(of_class.sum()), int((pred[of_class] == label).sum())
            accuracies.append(100.0 * correct / total)
            print(
                f"* class: {label} ({self._lab2cname[label]})\ttotal: {total:,}\tcorrect:"
                f" {correct:,}\tacc: {accuracies[-1]:.2f}%"
            )
        mean = float(np.mean(accuracies))
        print(f"* average: {mean:.2f}%")
        return mean

    def _save_confusion_matrix(self, true: np.ndarray, pred: np.ndarray) -> None:
        """Write rows of true, columns of predicted classes, each row summing to 1, as a tensor."""
        # not at the top: it would cost every start seconds, and few runs ask for it
        from sklearn.metrics import confusion_matrix

        path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        # a tensor rather than Dassl's NumPy array: torch.load(weights_only=True) takes it
        with replacing(path) as part:
            torch.save(torch.from_numpy(confusion_matrix(true, pred, normalize="true")), part)
        print(f"Confusion matrix is saved to {path}")


def macro_f1_score(true: np.ndarray, pred: np.ndarray) -> float:
    """Return the mean F1 score, in [0, 1], of the classes that occur in `true` (N,)."""
    n_classes = int(max(true.max(), pred.max())) + 1
    hits, labelled, predicted = (
        np.bincount(part, minlength=n_classes) for part in (true[true == pred], true, pred)
    )
    there = labelled > 0
    return float((2 * hits[there] / (labelled[there] + predicted[there])).mean())
