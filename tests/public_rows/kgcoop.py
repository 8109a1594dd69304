"""KgCoOp: CoOp held to CLIP's own text features of hand-made prompts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from loreal_plugin.contract import HostContract
from loreal_plugin.contract.base import HostModel
from loreal_plugin.contract.facts import context_template


class KgCoOpContract(HostContract):
    """Source: htyao89/KgCoOp, KgCoOp/trainers/kgcoop.py (revision c43ccc3)."""

    method = "kgcoop"
    title = "KgCoOp"
    colour = "tab:purple"
    trainer = "KgCoOp"
    loreal_trainer = "KgCoOp_LOREAL"
    module = "kgcoop"
    cfg_node = "COOP"
    learner = "prompt_learner"
    checkpoint = "prompt_learner"
    learns_images = False
    # drawn at random in each build, and read by no forward
    unused = (
        "adapter",
        "meta_net",
        "prompt_learner.meta_net",
        "prompt_learner.bias_vectors",
    )
    repositories = ("htyao89/KgCoOp",)
    parts = {
        "learned context": "prompt_learner.ctx",
        "logit scale": "logit_scale",
    }

    def prompt_template(self, cfg: Any) -> str:
        """Return the text of the prompts: any CTX_INIT means one fixed context."""
        node = cfg.TRAINER[self.cfg_node]
        return context_template("a photo of a" if node.CTX_INIT else "", node.N_CTX)

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and their token ids (C, L)."""
        return model.prompt_learner(), model.tokenized_prompts

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return image features, not normalised, each (B, D_v)."""
        return (model.image_encoder(images),)
