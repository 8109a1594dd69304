"""MaPLe: learned context rows; deep prompts replace them layer by layer, in both encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel


class MaPLeContract(HostContract):
    """Source: muzairkhattak/multimodal-prompt-learning, trainers/maple.py and clip/model.py.

    The deep prompts overwrite rows 1..n_ctx from the second block on, whatever stands there: slots
    may not come first.
    """

    method = "maple"
    title = "MaPLe"
    colour = "tab:blue"
    trainer = "MaPLe"
    loreal_trainer = "MaPLe_LOREAL"
    module = "maple"
    cfg_node = "MAPLE"
    learner = "prompt_learner"
    checkpoint = "MultiModalPromptLearner"
    whole_model = True
    slot_orders = ("class_first", "ctx_first")
    layer_options = ("PROMPT_DEPTH",)
    tiny_options = ("TRAINER.MAPLE.PROMPT_DEPTH", "3")
    parts = {
        "learned context": "prompt_learner.ctx",
        "number of context rows": "prompt_learner.n_ctx",
        "deep text prompts": "prompt_learner.compound_prompts_text",
        "logit scale": "logit_scale",
    }

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and the ids (C, L) of what stands in each row."""
        return model.prompt_learner()[0], model.tokenized_prompts

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens, model.prompt_learner.compound_prompts_text)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        _, shared_ctx, _, deep_visual = model.prompt_learner()
        return (model.image_encoder(images, shared_ctx, deep_visual),)

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return `enter`: deep prompts replace rows 1..n_ctx from the second block on."""
        deep = [rows.detach() for rows in model.prompt_learner.compound_prompts_text]
        if deep and rounds_to_half(model, deep):
            deep = [rows.half() for rows in deep]

        def enter(layer_index: int, x: Tensor) -> Tensor:
            if not 1 <= layer_index <= len(deep):
                return x
            rows = deep[layer_index - 1].to(x.dtype).expand(x.shape[0], -1, -1)  # (N, n_ctx, D_t)
            return torch.cat([x[:, :1], rows, x[:, 1 + rows.shape[1] :]], dim=1)

        return {"enter": enter, "min_static_rows": 1 + model.prompt_learner.n_ctx}


@torch.no_grad()
def rounds_to_half(model: HostModel, deep: list[Tensor]) -> bool:
    """Return whether the host rounds deep text prompts to half precision inside its blocks.

    The public MaPLe does so whatever its PREC is (clip/model.py, `.half()`). Looked for by
    behaviour: two sets of prompts that only differ below half precision then give the same text
    features.
    """
    if model.dtype == torch.float16:
        return True
    encoder = model.text_encoder
    generator = torch.Generator().manual_seed(0)
    # Two sets of prompts that half precision cannot tell apart, and float32 can.
    # 2^-14 is an eighth of half precision's smallest relative step, and 2^9 steps of float32.
    coarse = [
        torch.randn(rows.shape, generator=generator).half().float().to(rows.device) for rows in deep
    ]
    signs = [
        torch.randint(0, 2, rows.shape, generator=generator).to(rows.device) * 2 - 1
        for rows in deep
    ]
    fine = [rows * (1 + sign * 2.0**-14) for rows, sign in zip(coarse, signs, strict=True)]
    tokens = model.tokenized_prompts[:1]
    shape = (1, tokens.shape[1], encoder.positional_embedding.shape[1])
    prompt = torch.randn(shape, generator=generator).to(
        encoder.positional_embedding.device, model.dtype
    )
    return torch.equal(encoder(prompt, tokens, coarse), encoder(prompt, tokens, fine))
