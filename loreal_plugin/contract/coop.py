"""CoOp: learned context rows in the prompt, plain CLIP encoders."""

from __future__ import annotations

import torch
from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel
from loreal_plugin.errors import HostError


class CoOpContract(HostContract):
    """Source: KaiyangZhou/CoOp, trainers/coop.py."""

    method = "coop"
    title = "CoOp"
    colour = "tab:green"
    trainer = "CoOp"
    loreal_trainer = "CoOp_LOREAL"
    module = "coop"
    cfg_node = "COOP"
    learner = "prompt_learner"
    checkpoint = "prompt_learner"
    learns_images = False
    zero_shot_options = {"CTX_INIT": "a photo of a"}
    authors_options = {"CTX_INIT": "", "N_CTX": 16}
    parts = {
        "learned context": "prompt_learner.ctx",
        "number of context rows": "prompt_learner.n_ctx",
        "lengths of the class names": "prompt_learner.name_lens",
        "place of the class name": "prompt_learner.class_token_position",
        "logit scale": "logit_scale",
    }

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and the ids (C, L) of what stands in each row."""
        learner = model.prompt_learner
        order = _row_order(learner, model.tokenized_prompts.shape)
        tokens = model.tokenized_prompts
        return learner(), tokens.gather(1, order.to(tokens.device))

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        return (model.image_encoder(images),)


def _row_order(learner: HostModel, shape: torch.Size) -> Tensor:
    """Return for each prompt row the position of its token in the host's tokens, (C, L).

    The host tokenises "X X X name.". With CLASS_TOKEN_POSITION `front` it moves the context rows
    behind the name, with `middle` half of them. The tokens that it keeps are not moved.
    """
    n_cls, length = shape
    order = torch.arange(length).repeat(n_cls, 1)
    place, n_ctx = learner.class_token_position, learner.n_ctx
    if place == "end":
        return order
    if place not in ("front", "middle"):
        raise HostError(
            f"CLASS_TOKEN_POSITION '{place}' of the host is none of: end, middle, front"
        )
    before = 1 + (n_ctx // 2 if place == "middle" else 0)
    for row, name_len in zip(order, learner.name_lens, strict=True):
        context = torch.arange(before, 1 + n_ctx)
        name = torch.arange(1 + n_ctx, 1 + n_ctx + name_len)
        row[before : 1 + n_ctx + name_len] = torch.cat([name, context])
    return order
