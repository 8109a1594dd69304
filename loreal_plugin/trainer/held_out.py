"""Views of pictures that no training saw, to compare inference modes on.

Shapes: N views, F features a view, D_v width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from loreal_plugin.errors import DataError
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.students.embedding_cache import encode_views
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import StudentViews, ViewRecipe, build_recipe

BATCH = 32
# Views that stage 3 never draws: its own are streams 0 and 1.
HELD_OUT_STREAM = 2


@dataclass(frozen=True)
class HeldOut:
    """Pictures of the training classes, seen in crops and flips that stage 3 never draws.

    Attributes:
        items: with `impath` and `label`.
        kind: what they are, in words.
        recipe, seed: how views are drawn.
    """

    items: list[Any]
    kind: str
    recipe: ViewRecipe
    seed: int

    def embed(self, model: Loreal, count: int) -> tuple[Tensor, Tensor, str]:
        """Return features (N, F, D_v), labels (N,), and what they are; N is at least `count`."""
        n_views, beta = -(-count // len(self.items)), cast(Student, model.beta)
        views = StudentViews(
            self.items, beta.input_size, n_views, self.recipe, self.seed, HELD_OUT_STREAM
        )
        device = beta.device
        features = encode_views(
            model.embed,
            views,
            batch_size=BATCH,
            device=device,
            title="embedding held-out pictures",
        ).flatten(0, 1)
        labels = torch.tensor([item.label for item in self.items]).repeat_interleave(n_views)
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
        crops = f"{n_views} crops that stage 3 never drew"
        where = f"{len(self.items)} {self.kind}, each in {crops}"
        return features[order].to(device), labels[order], where


def held_out(dataset: Any, cfg: Any, seed: int) -> HeldOut:
    """Return the pictures of the validation split, else the training pictures.

    Args:
        dataset: a Dassl dataset.
        cfg: stage 3's configuration.
        seed: of the views.

    Raises:
        DataError: the dataset has neither.
    """
    items = list(dataset.val or dataset.train_x)
    if not items:
        raise DataError(
            "calibration needs pictures of the training classes, and the dataset has none"
        )
    kind = "pictures of the validation split" if dataset.val else "training pictures"
    return HeldOut(items, kind, build_recipe(cfg), seed)
