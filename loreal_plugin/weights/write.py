"""Writing a CLIP for other programs: OpenAI's layout, Hugging Face, OpenCLIP.

Source: the file names and configuration keys of `transformers` `CLIPModel.from_pretrained` and of
`open_clip` local folders (`local-dir:`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from loreal_plugin.errors import WeightsError, unknown_name
from loreal_plugin.files.atomic import write_json
from loreal_plugin.files.tensors import write_tensors, write_torch
from loreal_plugin.weights.clip_layout import HEAD_WIDTH, describe
from loreal_plugin.weights.convert import HF_OUTER, HF_PARTS, HF_TOWERS, HF_TRANSPOSED, QKV

OPENAI, HUGGING_FACE, OPEN_CLIP = "openai", "hf", "open_clip"
FORMATS = (OPENAI, HUGGING_FACE, OPEN_CLIP)
SUFFIXES = (".safetensors", ".pt")  # of OpenAI's layout
# Source: openai/CLIP, clip/clip.py, `_transform`
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def check_place(out: Path, layout: str) -> None:
    """Raise WeightsError where a CLIP of a layout cannot have that name."""
    if layout not in FORMATS:
        raise WeightsError(unknown_name("--format", layout, FORMATS))
    if layout == OPENAI and out.suffix not in SUFFIXES:
        raise WeightsError(
            f"'{out}': a file of OpenAI's layout ends with {' or '.join(SUFFIXES)}; name it so, or"
            f" choose --format {HUGGING_FACE} or {OPEN_CLIP} for a folder"
        )
    if layout != OPENAI and (out.is_file() or out.suffix in SUFFIXES):
        raise WeightsError(f"'{out}': --format {layout} writes a folder; name one, without suffix")


def write_clip(state: Mapping[str, Tensor], out: Path, layout: str) -> Path:
    """Write a CLIP ViT under OpenAI's keys in a layout; return the file that has its weights.

    Args:
        state: what `load_clip_state_dict` gives. The input size follows from its positions.
        out: a file for `openai`, a folder for `hf` and `open_clip`.
        layout: one of `FORMATS`.

    Raises:
        WeightsError: it cannot be written, or not under that name.
    """
    check_place(out, layout)
    try:
        if layout == OPENAI:
            return _write_openai(state, out)
        out.mkdir(parents=True, exist_ok=True)
        return (_write_hugging_face if layout == HUGGING_FACE else _write_open_clip)(state, out)
    except OSError as error:
        raise WeightsError(f"{out} cannot be written: {error}; free some space") from error


def _write_openai(state: Mapping[str, Tensor], out: Path) -> Path:
    """Write one file, safetensors or what `torch.save` writes."""
    if out.suffix == ".pt":
        write_torch(out, {name: value.contiguous() for name, value in state.items()})
    else:
        write_tensors(out, state, {"format": "pt"})
    return out


def _write_open_clip(state: Mapping[str, Tensor], out: Path) -> Path:
    """Write a folder that OpenCLIP opens as `local-dir:FOLDER`."""
    sizes = describe(dict(state))
    vision = {"image_size": sizes["resolution"], "layers": sizes["layers"]}
    vision |= {"width": sizes["width"], "patch_size": sizes["patch"], "head_width": HEAD_WIDTH}
    text = {"context_length": sizes["context_length"], "vocab_size": sizes["vocab"]}
    text |= {"width": sizes["text_width"], "layers": sizes["text_layers"]}
    text |= {"heads": sizes["text_width"] // HEAD_WIDTH}
    model = {"embed_dim": sizes["embed_dim"], "quick_gelu": True}
    card = {
        "model_cfg": {**model, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    path = out / "open_clip_model.safetensors"
    write_tensors(path, state, {"format": "pt"})
    write_json(out / "open_clip_config.json", card)
    return path


def _write_hugging_face(state: Mapping[str, Tensor], out: Path) -> Path:
    """Write a folder that `CLIPModel.from_pretrained` opens, with its image processor."""
    path = out / "model.safetensors"
    write_tensors(path, to_hugging_face(state), {"format": "pt"})
    sizes = describe(dict(state))
    write_json(out / "config.json", _hugging_face_card(sizes))
    side = sizes["resolution"]
    processor: dict[str, Any] = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "resample": 3,  # bicubic, a number of Pillow's
        "image_mean": MEAN,
        "image_std": STD,
    }
    processor |= dict.fromkeys(
        ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), True
    )
    write_json(out / "preprocessor_config.json", processor)
    return path


def _hugging_face_card(sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return `config.json` of a `CLIPModel`."""
    common = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    common |= {"projection_dim": sizes["embed_dim"]}

    def tower(width: int, layers: int) -> dict[str, Any]:
        heads = width // HEAD_WIDTH
        shape = {"hidden_size": width, "intermediate_size": 4 * width}
        return {**common, **shape, "num_hidden_layers": layers, "num_attention_heads": heads}

    text = tower(sizes["text_width"], sizes["text_layers"])
    # the last two entries of CLIP's vocabulary begin and end a text
    ends = {"bos_token_id": sizes["vocab"] - 2, "eos_token_id": sizes["vocab"] - 1}
    text |= {"vocab_size": sizes["vocab"], **ends, "pad_token_id": sizes["vocab"] - 1}
    text |= {"max_position_embeddings": sizes["context_length"]}
    vision = tower(sizes["width"], sizes["layers"])
    vision |= {"image_size": sizes["resolution"], "patch_size": sizes["patch"], "num_channels": 3}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": sizes["embed_dim"],
        "text_config": {"model_type": "clip_text_model", **text},
        "vision_config": {"model_type": "clip_vision_model", **vision},
    }


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under OpenAI's keys as a `CLIPModel` names them; see `from_hugging_face`."""
    outer = {ours: theirs for theirs, ours in HF_OUTER.items()}
    transposed = {ours: theirs for theirs, ours in HF_TRANSPOSED.items()}
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in outer:
            renamed[outer[name]] = value
        elif name in transposed:
            renamed[transposed[name]] = value.t().contiguous()
        else:
            renamed |= _block_of_hugging_face(name, value)
    return renamed


def _block_of_hugging_face(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return one tensor of a block as a `CLIPModel` names it; three for joint projections."""
    tower, _, rest = name.partition(".resblocks.")
    index, _, part = rest.partition(".")
    towers = {ours: theirs for theirs, ours in HF_TOWERS.items()}
    layer = f"{towers[tower]}.encoder.layers.{index}"
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        thirds = zip(QKV, value.chunk(3), strict=True)
        # copies: safetensors up to 0.3.1 writes no tensors that share memory
        return {f"{layer}.self_attn.{which}.{kind}": one.clone() for which, one in thirds}
    parts = {ours: theirs for theirs, ours in HF_PARTS.items()}
    module, _, kind = part.rpartition(".")
    return {f"{layer}.{parts[module]}.{kind}": value}
