"""DePT on CoOp: a linear head over the trained classes beside the text features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.contract.base import HostModel
from loreal_plugin.contract.coop import CoOpContract


class DePTContract(CoOpContract):
    """Source: Koorye/DePT, trainers/elp_coop.py, coop.py (revision d4ff416).

    Where the trained classes are tested, logits are a mix: cosine similarity, and a linear head
    that reads the image feature as it comes, scaled and shifted. That input is the second feature.
    """

    method = "dept"
    title = "DePT (CoOp)"
    colour = "tab:pink"
    trainer = "ExtrasLinearProbeCoOp"
    loreal_trainer = "DePT_LOREAL"
    module = "elp_coop"
    checkpoint = "PromptLearner"
    whole_model = True
    learns_images = True
    n_features = 2
    zero_shot_options = {}
    authors_options = {}
    of_trained_classes = ("linear_probe_proj",)
    repositories = ("Koorye/DePT",)
    parts = CoOpContract.parts | {
        "head of the trained classes": "linear_probe_proj",
        "scale and shift before it": "film_lp_img.scale",
        "classes that are trained": "subsample_classes",
        "weight of the head": "lp_cfg.WEIGHT",
    }

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the image feature, and what the head reads of it, each (B, D_v)."""
        feature = model.image_encoder(images)
        return feature, model.film_lp_img(feature)

    def encode_image(self, model: HostModel, images: Tensor) -> Tensor:
        """Return image features (B, 2, D_v): the first L2-normalised, the second as it is."""
        feature, read = self.image_features(model, images.type(model.dtype))
        return torch.stack([F.normalize(feature, dim=-1), read], dim=1)

    def condition(self, model: HostModel, features: Tensor, mode: str = "class") -> Tensor:
        """Return the image feature (B, D_v)."""
        return features[:, 0]

    def logits(
        self, model: HostModel, features: Tensor, text_features: Tensor, fusion: bool = False
    ) -> Tensor:
        """Return logits (B, C): of the text, mixed with the head's where it is."""
        of_text = super().logits(model, features[:, :1], text_features)
        if not isinstance(model.linear_probe_proj, torch.nn.Linear):
            return of_text
        of_head = model.linear_probe_proj(features[:, 1])
        if not model.lp_cfg.TEST_TIME_FUSION:
            return of_head
        weight = model.lp_cfg.WEIGHT
        return (1 - weight) * of_text + weight * of_head
