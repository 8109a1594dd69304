"""TCP: a shared context, and rows made of each class's name that one text block takes in."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract import HostContract
from loreal_plugin.contract.base import HostModel

# trainers/clip_text/model.py: this block overwrites the rows behind the start token
_LAYER = 8


class TCPContract(HostContract):
    """Source: htyao89/Textual-based_Class-aware_prompt_tuning, trainers/tcp.py, clip_text/model.py
    (revision bd97bec).
    """

    method = "tcp"
    title = "TCP"
    colour = "tab:brown"
    trainer = "TCP"
    loreal_trainer = "TCP_LOREAL"
    module = "tcp"
    cfg_node = "COOP"  # it reads CoOp's keys
    learner = "prompt_learner"
    checkpoint = "prompt_learner"
    learns_images = False
    slot_orders = ("class_first", "ctx_first")
    repositories = ("htyao89/Textual-based_Class-aware_prompt_tuning",)
    parts = {
        "learned context": "prompt_learner.ctx",
        "number of context rows": "prompt_learner.n_ctx",
        "rows of classes": "prompt_learner.meta_net",
        "text block that takes them in": f"text_encoder.transformer.resblocks.{_LAYER}.attn",
        "their weight": "weight",
        "logit scale": "logit_scale",
    }

    def prompt_template(self, cfg: Any) -> str:
        """Return the template of the dataset in the host's table."""
        table = getattr(sys.modules.get("trainers.tcp"), "CUSTOM_TEMPLATES", {})
        return table.get(cfg.DATASET.NAME, "X X X X {}.")

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and their token ids (C, L)."""
        return self.own(model)()[0], model.tokenized_prompts

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of prompts of all classes, in their order."""
        classes = torch.arange(len(embeddings), device=embeddings.device)
        return self.encode_classes(model, embeddings, tokens, classes)

    def encode_classes(
        self, model: HostModel, embeddings: Tensor, tokens: Tensor, classes: Tensor
    ) -> Tensor:
        """Return text features (N, D_v) of the host's text encoder, with rows of these classes."""
        rows = self.own(model)()[1][classes]
        return model.text_encoder(embeddings, rows, model.weight, tokens)

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return `enter_class`: one block's rows 1..n are those of the class."""
        with torch.no_grad():
            rows = self.own(model)()[1]  # (C, n, D_t)

        def enter_class(index: int, x: Tensor, classes: Tensor) -> Tensor:
            if index != _LAYER:
                return x
            return torch.cat([x[:, :1], rows[classes].to(x), x[:, 1 + rows.shape[1] :]], dim=1)

        return {"enter_class": enter_class, "min_static_rows": 1 + rows.shape[1]}

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return image features, not normalised, each (B, D_v)."""
        return (model.image_encoder(images),)
