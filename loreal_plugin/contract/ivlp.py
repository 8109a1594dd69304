"""IVLP: context rows in the prompt, and learned rows that blocks of both encoders write."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel
from loreal_plugin.contract.facts import context_template


class IVLPContract(HostContract):
    """Source: muzairkhattak/multimodal-prompt-learning, trainers/independentVL.py, clip/model.py.

    From the second text block to PROMPT_DEPTH_TEXT each block holds a tensor. It overwrites rows
    1..n_ctx of the block's input, whatever stands there: slots may not come first.
    """

    method = "ivlp"
    title = "IVLP"
    colour = "tab:cyan"
    trainer = "IVLP"
    loreal_trainer = "IVLP_LOREAL"
    module = "independentVL"
    cfg_node = "IVLP"
    learner = "prompt_learner"
    checkpoint = "VLPromptLearner"
    whole_model = True
    slot_orders = ("class_first", "ctx_first")
    layer_options = ("PROMPT_DEPTH_VISION", "PROMPT_DEPTH_TEXT")
    tiny_options = (
        *("TRAINER.IVLP.PROMPT_DEPTH_VISION", "3"),
        *("TRAINER.IVLP.PROMPT_DEPTH_TEXT", "3"),
    )
    repositories = ("muzairkhattak/multimodal-prompt-learning",)
    parts = {
        "learned context": "prompt_learner.ctx",
        "number of context rows": "prompt_learner.n_ctx",
        "whether a text block holds rows": "text_encoder.transformer.resblocks.0.add_prompt",
        "logit scale": "logit_scale",
    }

    def prompt_template(self, cfg: Any) -> str:
        """Return the text of the prompts; more than four learned rows start at random, wordless."""
        node = cfg.TRAINER[self.cfg_node]
        n_ctx = node.get("N_CTX_TEXT", 0)
        return context_template("" if n_ctx > 4 else node.get("CTX_INIT", ""), n_ctx)

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and the ids (C, L) of what stands in each row."""
        return model.prompt_learner(), model.tokenized_prompts

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        return (model.image_encoder(images),)

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return `enter`: the rows that a block holds replace rows 1..n_ctx."""
        length = model.text_encoder.positional_embedding.shape[0]
        rows_by_layer = {
            index: rows_of_block(block, length)
            for index, block in enumerate(model.text_encoder.transformer.resblocks)
            if block.add_prompt
        }

        def enter(layer_index: int, x: Tensor) -> Tensor:
            if layer_index not in rows_by_layer:
                return x
            rows = rows_by_layer[layer_index].to(x.dtype)
            rows = rows.expand(x.shape[0], -1, -1)  # (N, n_ctx, D_t)
            return torch.cat([x[:, :1], rows, x[:, 1 + rows.shape[1] :]], dim=1)

        return {"enter": enter, "min_static_rows": 1 + model.prompt_learner.n_ctx}


@torch.no_grad()
def rows_of_block(block: HostModel, length: int) -> Tensor:
    """Return the rows (n_ctx, D_t) that a text block writes, as it writes them.

    The public IVLP rounds them to half precision whatever its PREC is (clip/model.py, `.half()`).
    That is looked for by behaviour: the block is run with its rows and with its rows rounded;
    where both give the same, rounded ones are what it writes.

    Args:
        length: rows of a prompt, which the block's attention mask is made for.
    """
    rows = block.VPT_shallow.detach()
    rounded = rows.half().to(rows.dtype)
    x = torch.zeros(length, 1, rows.shape[-1], dtype=block.mlp.c_proj.weight.dtype).to(rows.device)
    outputs = [
        torch.func.functional_call(block, {"VPT_shallow": given}, (x,)) for given in (rows, rounded)
    ]
    return rounded if torch.equal(*outputs) else rows
