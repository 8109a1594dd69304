"""The inverse of `loreal_plugin.weights.convert`: one random CLIP written in every layout."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from loreal_plugin.weights import import_clip

HF_NAMES = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
}
HF_PARTS = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
HF_PARTS |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}


def as_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return OpenAI-layout weights as `transformers` `CLIPModel` names them."""
    out = {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "logit_scale": state["logit_scale"],
    }
    out["text_projection.weight"] = state["text_projection"].t().contiguous()
    out["visual_projection.weight"] = state["visual.proj"].t().contiguous()
    for name, value in state.items():
        block = re.match(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$", name)
        if block:
            layer = f"{'vision' if block[1] else 'text'}_model.encoder.layers.{block[2]}"
            if block[3] == "attn.in_proj":
                for which, part in zip("qkv", value.chunk(3), strict=True):
                    out[f"{layer}.self_attn.{which}_proj.{block[4]}"] = part.clone()
            else:
                out[f"{layer}.{HF_PARTS[block[3]]}.{block[4]}"] = value
        elif name in HF_NAMES:
            out[HF_NAMES[name]] = value
        elif name.rpartition(".")[0] in HF_NAMES:
            out[HF_NAMES[name.rpartition(".")[0]] + "." + name.rpartition(".")[2]] = value
    return out


def as_custom_text_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return OpenAI-layout weights as OpenCLIP's `CustomTextCLIP` names them in a checkpoint."""
    out = {}
    for name, value in state.items():
        here = name if name.startswith("visual.") or name == "logit_scale" else f"text.{name}"
        if name == "text_projection":
            here, value = "text.text_projection.weight", value.t().contiguous()
        out[f"module.{here}"] = value
    return out | {"module.text.attn_mask": torch.zeros(77, 77)}


def write_torchscript(state: dict[str, Tensor], path: Path) -> Path:
    """Write a TorchScript archive with OpenAI's key tree and its three numbers."""
    model = import_clip().model.build_model(dict(state)).float()
    for name, number in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
        model.register_buffer(name, torch.tensor(number)) if not hasattr(model, name) else None
    inputs = (torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(_Holder(model), inputs).model, str(path))
    return path


class _Holder(nn.Module):
    """Traces a CLIP; its submodule is then an archive of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(image, text)
