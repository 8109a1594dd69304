"""Other key layouts of CLIP, renamed to OpenAI's.

Source: the parameter names of `transformers` `CLIPModel` and of `open_clip`
`CLIP`/`CustomTextCLIP`.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

HF_OUTER = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
# stored as Linear weights there, as matrices to the right of the features here
HF_TRANSPOSED = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}
HF_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
HF_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
HF_BLOCK = re.compile(r"^(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
QKV = ("q_proj", "k_proj", "v_proj")


def is_hugging_face(state: dict[str, Tensor]) -> bool:
    """Return whether `state` is a `CLIPModel`'s."""
    return "vision_model.embeddings.class_embedding" in state


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a `CLIPModel` state dict under OpenAI's keys; a key that is not CLIP's stays as it is.

    Query, key and value projections become one matrix, the two projections are transposed.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        match = HF_BLOCK.match(name)
        if name in HF_TRANSPOSED:
            converted[HF_TRANSPOSED[name]] = value.t().contiguous()
        elif match is None:
            converted[HF_OUTER.get(name, name)] = value
        else:
            tower, index, part, kind = match.groups()
            block = f"{HF_TOWERS[tower]}.resblocks.{index}"
            attention = name.rsplit(".", 2)[0]
            qkv = [state.get(f"{attention}.{which}.{kind}") for which in QKV]
            # The query's turn writes the joint matrix; key and value then have nothing to do.
            if part in HF_PARTS:
                converted[f"{block}.{HF_PARTS[part]}.{kind}"] = value
            elif part == "self_attn.q_proj" and all(third is not None for third in qkv):
                converted[f"{block}.attn.in_proj_{kind}"] = torch.cat(qkv)
            elif part.removeprefix("self_attn.") not in QKV:
                converted[name] = value
    return converted


def from_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return an OpenCLIP state dict under OpenAI's keys, which it mostly has.

    The prefixes `module.` (training checkpoints) and `text.` (`CustomTextCLIP`) go; a text
    projection stored as a Linear is transposed.
    """
    converted = {re.sub(r"^(module\.)?(text\.)?", "", name): value for name, value in state.items()}
    projection = converted.pop("text_projection.weight", None)
    if projection is not None:
        converted["text_projection"] = projection.t().contiguous()
    return converted
