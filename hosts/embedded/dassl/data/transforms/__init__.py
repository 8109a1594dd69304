"""Picture transforms, chosen by name."""

from __future__ import annotations

from .transforms import CHOICES, INTERPOLATION_MODES, build_transform

__all__ = ["CHOICES", "INTERPOLATION_MODES", "build_transform"]
