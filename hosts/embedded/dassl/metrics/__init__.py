"""Numbers computed from predictions."""

from __future__ import annotations

from .accuracy import compute_accuracy

__all__ = ["compute_accuracy"]
