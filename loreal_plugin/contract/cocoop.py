"""CoCoOp: context rows that a small network of its own shifts by the image; plain CLIP encoders."""

from __future__ import annotations

import torch
from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel


class CoCoOpContract(HostContract):
    """Source: KaiyangZhou/CoOp and muzairkhattak/multimodal-prompt-learning, trainers/cocoop.py.

    The host's `prompt_learner(image_features)` builds whole prompts an image, so it is not called
    here: the rows are put together from its parts, and what the image adds is a question of its
    own, `prompt_shift`.
    """

    method = "cocoop"
    title = "CoCoOp"
    colour = "tab:olive"
    trainer = "CoCoOp"
    loreal_trainer = "CoCoOp_LOREAL"
    module = "cocoop"
    cfg_node = "COCOOP"
    learner = "prompt_learner"
    checkpoint = "prompt_learner"
    learns_images = False
    static_prompts = False
    repositories = ("KaiyangZhou/CoOp", "muzairkhattak/multimodal-prompt-learning")
    parts = {
        "learned context": "prompt_learner.ctx",
        "network that shifts the context": "prompt_learner.meta_net",
        "rows before the context": "prompt_learner.token_prefix",
        "rows after the context": "prompt_learner.token_suffix",
        "logit scale": "logit_scale",
    }

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t), shifted by no image, and the ids (C, L)."""
        learner = model.prompt_learner
        context = learner.ctx.expand(learner.token_prefix.shape[0], -1, -1)
        rows = torch.cat([learner.token_prefix, context, learner.token_suffix], dim=1)
        return rows, model.tokenized_prompts

    @torch.no_grad()
    def prompt_shift(self, model: HostModel, features: Tensor) -> Tensor | None:
        """Return (B, n_ctx, D_t): the same vector of the image for each context row."""
        learner = model.prompt_learner
        # The host's network has a type of its own: half under PREC fp16.
        dtype = next(learner.meta_net.parameters()).dtype
        shift = learner.meta_net(features[:, 0].to(dtype))  # (B, D_t)
        return shift[:, None].expand(-1, learner.ctx.shape[0], -1)

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        return (model.image_encoder(images),)
