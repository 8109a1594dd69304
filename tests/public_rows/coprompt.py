"""CoPrompt: MaPLe with an adapter behind each encoder, held to frozen CLIP."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from loreal_plugin.contract.base import HostModel
from loreal_plugin.contract.maple import MaPLeContract


class CoPromptContract(MaPLeContract):
    """Source: ShuvenduRoy/CoPrompt, trainers/coprompt.py, clip/model.py (revision a2a6c12).

    The teacher is a second whole CLIP, `model_distill`; it is read in training alone.
    """

    method = "coprompt"
    title = "CoPrompt"
    colour = "tab:gray"
    trainer = "CoPrompt"
    loreal_trainer = "CoPrompt_LOREAL"
    module = "coprompt"
    cfg_node = "CoPrompt"
    repositories = ("ShuvenduRoy/CoPrompt",)
    tiny_options = ("TRAINER.CoPrompt.PROMPT_DEPTH", "3")
    parts = MaPLeContract.parts | {
        "adapter of images": "adapter_image",
        "adapter of text": "adapter_text",
        "share of the image adapter": "image_adapter_m",
        "share of the text adapter": "text_adapter_m",
        "frozen CLIP": "model_distill.visual",
    }

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) behind the adapter."""
        return _text_adapted(model, super().encode_text(model, embeddings, tokens))

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return MaPLe's rows, and the adapter behind the last block."""
        return super().block_parts(model, cfg) | {"after": lambda x: _text_adapted(model, x)}

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the image features (B, D_v) behind the adapter."""
        (feature,) = super().image_features(model, images)
        share = model.image_adapter_m
        return (share * model.adapter_image(feature) + (1 - share) * feature,)


def _text_adapted(model: HostModel, features: Tensor) -> Tensor:
    share = model.text_adapter_m
    return share * model.adapter_text(features) + (1 - share) * features
