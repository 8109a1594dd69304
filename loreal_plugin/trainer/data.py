"""Stage 3's training batches: the host's list of pictures, our views, the embedding cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.config import method_settings, with_settings
from loreal_plugin.method.correction import Correction
from loreal_plugin.options import LorealOptions, changed_positions, position_resampling
from loreal_plugin.paths import cache_root
from loreal_plugin.plain_output import counted
from loreal_plugin.students.embedding_cache import EmbeddingCache, encode_views, pictures_digest
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import PairedViews, StudentViews, build_recipe
from loreal_plugin.trainer.step import EpochSampler, FeatureLoader, ViewLoader

# Pictures an encoder call while the cache is built.
ENCODE_BATCH = 64


def resized(cfg: Any, size: int) -> Any:
    """Return a frozen copy of a configuration for square inputs of `size` pixels."""
    return with_settings(cfg, {"INPUT.SIZE": (size, size)})


class DataPlan:
    """The training pictures of one run and how they are seen."""

    def __init__(self, cfg: Any, options: LorealOptions, items: Sequence[Any], seed: int) -> None:
        self.cfg, self.options, self.items, self.seed = cfg, options, list(items), seed
        self.recipe = build_recipe(cfg)

    def _sampler(self) -> EpochSampler:
        shuffle = self.cfg.DATALOADER.TRAIN_X.SAMPLER == "RandomSampler"
        return EpochSampler(len(self.items), self.seed, shuffle)

    @cached_property
    def _pictures_digest(self) -> str:
        return pictures_digest(self.items)

    def view_loader(self, pin_memory: bool = False) -> ViewLoader:
        """Return a loader of pictures, each seen at the native size and at phi."""
        sizes = (self.cfg.INPUT.SIZE[0], self.options.phi)
        independent = self.options.views == "independent"
        return ViewLoader(
            PairedViews(self.items, sizes, self.recipe, self.seed, independent),
            self._sampler(),
            self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            self.options.cache_views,
            self.cfg.DATALOADER.NUM_WORKERS,
            pin_memory,
        )

    def feature_loader(
        self, alpha: Student, beta: Student, facts: Mapping[str, Any], device: torch.device
    ) -> FeatureLoader:
        """Return a loader of both students' cached embeddings.

        Args:
            facts: what else can change an embedding: the host's revision, shims, CLIP package and
                CLIP weights.

        Raises:
            DataError: a picture cannot be read.
        """
        features = [
            self.features(name, student, facts, device)
            for name, student in (("alpha", alpha), ("beta", beta))
        ]
        labels = torch.tensor([item.label for item in self.items])
        return FeatureLoader(
            *features, labels, self._sampler(), self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        )

    def features(
        self, name: str, student: Student, facts: Mapping[str, Any], device: torch.device
    ) -> Tensor:
        """Return a student's embeddings (N, V, F, D_v) of the training pictures, cached.

        Args:
            name: `alpha` or `beta`.
            facts: as for `feature_loader`.
        """
        o = self.options
        stream = 1 if name == "beta" and o.views == "independent" else 0
        ingredients = {
            **facts,
            "pictures": self._pictures_digest,
            "student": name,
            "method": student.contract.method,
            "learned": student.fingerprint(),
            # how learned tensors are used: adapter scale, layers with tokens, precision
            "host_settings": method_settings(student.cfg, student.contract.counted_node),
            **changed_positions(position_resampling(student.cfg)),
            "size": student.input_size,
            "dtype": str(student.dtype),
            "device": device.type,
            "views": o.views,
            "view_seed": self.seed,
            "view_stream": stream,
            "n_views": o.cache_views,
            "recipe": self.recipe.fingerprint(),
        }
        views = StudentViews(
            self.items, student.input_size, o.cache_views, self.recipe, self.seed, stream
        )
        folder = Path(o.cache_dir) if o.cache_dir else cache_root() / "embeddings"
        return EmbeddingCache(folder).get_or_build(
            ingredients,
            lambda: encode_views(
                student.encode_image,
                views,
                batch_size=ENCODE_BATCH,
                num_workers=self.cfg.DATALOADER.NUM_WORKERS,
                device=device,
                title=f"embedding {len(self.items)} x {counted(o.cache_views, 'view')},"
                f" student {name}",
            ),
        )


def corrected_features(
    plan: DataPlan,
    beta: Student,
    facts: Mapping[str, Any],
    device: torch.device,
    correction: Correction | None,
) -> Tensor:
    """Return beta's corrected features (N * V, F, D_v) of every training picture and view.

    Where stage 3 draws its views anew in every epoch, one view of each is seen here.

    Args:
        facts: as for `DataPlan.feature_loader`.
    """
    options = replace(plan.options, cache_views=plan.options.cache_views or 1)
    seen = DataPlan(plan.cfg, options, plan.items, plan.seed)
    # (pictures, views, F, D_v) -> (N * V, F, D_v)
    features = seen.features("beta", beta, facts, device).flatten(0, 1)
    return features if correction is None else correction(features)
