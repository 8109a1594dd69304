"""Reading a weights file of any usual format into a plain dict of tensors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from loreal_plugin.errors import WeightsError
from loreal_plugin.files.sealed import UnsafeFileError
from loreal_plugin.files.torch_files import is_torchscript, named_by, read_torch, read_torchscript
from loreal_plugin.weights.clip_layout import HEAD_WIDTH

# names TorchScript archives that torch may run while it loads them
RUN = "LOREAL_RUN_TORCHSCRIPT"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `path`: safetensors, TorchScript archive, or a dict saved by torch.

    Nothing of the file is run, unless the user names it in `LOREAL_RUN_TORCHSCRIPT`.

    Raises:
        WeightsError: the file is truncated, damaged, holds more than tensors, or no dict of them.
    """
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if is_torchscript(path):
            return _run(path) if named_by(RUN, path) else read_torchscript(path)
        content = read_torch(path)
    except WeightsError:
        raise
    except UnsafeFileError as error:
        raise WeightsError(
            f"{path} is refused: {error}; nothing of it was run. CLIP weights are tensors alone:"
            " fetch the file again from a source that you trust"
        ) from error
    except Exception as error:  # Python's and torch's readers fail in many ways on damaged files
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as CLIP weights:"
            f" {reason[0][:200]}; if it is truncated or damaged, fetch it again"
        ) from error
    return _tensors_of(content, path)


def _run(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive that the user wants to be run."""
    print(
        f"{path} is loaded by torch.jit.load, because {RUN} names it: this runs code that it holds"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; OpenAI's files are what they are
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; WeightsError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is truncated or no safetensors file ({error}); fetch it again"
        ) from error


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict of what `torch.load` gave: itself, or a checkpoint's `state_dict`."""
    inner = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(inner, Mapping) or not all(
        isinstance(value, Tensor) for value in inner.values()
    ):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a state dict; save model.state_dict()"
        )
    return dict(inner)


def check_model_card(path: Path) -> None:
    """Raise WeightsError if a config beside `path` says that its model is built unlike OpenAI's.

    A state dict does not tell the activation or the number of heads; Hugging Face's `config.json`
    and OpenCLIP's `open_clip_config.json` do.
    """
    for name in ("config.json", "open_clip_config.json"):
        card = path.with_name(name)
        if not card.is_file():
            continue
        try:
            fault = _card_fault(json.loads(card.read_text(encoding="utf-8")))
        except (ValueError, AttributeError, OSError) as error:
            raise WeightsError(
                f"{card} beside the weights cannot be read ({error}); repair or remove it"
            ) from error
        if fault:
            raise WeightsError(
                f"{card} says {fault}: these weights would give wrong features; take other weights"
            )


def _card_fault(card: dict) -> str | None:
    """Return in what a config's model is built unlike OpenAI's CLIP; None: in nothing."""
    if "model_cfg" in card:
        quick = card["model_cfg"].get("quick_gelu", False)
        return None if quick else "activation GELU, OpenAI's CLIP has QuickGELU"
    for tower in ("text_config", "vision_config"):
        config = card.get(tower) or {}
        if config.get("hidden_act", "quick_gelu") != "quick_gelu":
            return f"{tower}.hidden_act is '{config['hidden_act']}', OpenAI's CLIP has quick_gelu"
        width, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if width and heads and width != HEAD_WIDTH * heads:
            shape = f"{tower} has {heads} heads at width {width}"
            return f"{shape}, OpenAI's CLIP has heads of {HEAD_WIDTH}"
    return None
