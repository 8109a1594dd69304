"""Building the embedded host's trainers in a test, without a dataset."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from dataset_helpers import use_embedded_host
from torch import Tensor, nn

METHODS = ("coop", "maple", "mma", "mmrl")
MODULES = {"coop": "coop", "maple": "maple", "mma": "mmadapter", "mmrl": "mmrl"}
NODES = {"coop": "COOP", "maple": "MAPLE", "mma": "MMADAPTER", "mmrl": "MMRL"}
TRAINERS = {"coop": "CoOp", "maple": "MaPLe", "mma": "MultiModalAdapter", "mmrl": "MMRL"}
LEARNERS = {"coop": "prompt_learner", "maple": "prompt_learner", "mma": "adapter_learner"}
LEARNERS["mmrl"] = "representation_learner"
CLASSES = ["airplane", "ice_cream cone", "dalmatian"]
# recipes for the three layers of the tiny CLIP
SETTINGS = {
    "coop": {"CTX_INIT": "a photo of a"},
    "maple": {"PROMPT_DEPTH": 3},
    "mma": {
        "TEXT_CTX_INIT": "a photo of a",
        "ADAPTER_START": 0,
        "ADAPTER_END": 2,
        "ADAPTER_DIM": 16,
    },
    "mmrl": {"REP_LAYERS": [2, 3], "REP_DIM": 48, "N_REP_TOKENS": 4},
}


def host_module(method: str) -> ModuleType:
    """Return the embedded host's trainer module of `method`."""
    use_embedded_host()
    return importlib.import_module(f"trainers.{MODULES[method]}")


def trainer_cfg(
    method: str, backbone: Path | str, size: int = 64, prec: str = "fp32", **settings: Any
) -> Any:
    """Return the host's configuration for `method`; dotted `settings` go anywhere."""
    use_embedded_host()
    train = importlib.import_module("train")
    from dassl.config import get_cfg_default

    cfg = get_cfg_default()
    train.extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME = TRAINERS[method], str(backbone)
    cfg.INPUT.SIZE, cfg.DATASET.NAME, cfg.USE_CUDA = (size, size), "OxfordPets", False
    cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH = 0.01, 2
    for name, value in (SETTINGS[method] | {"PREC": prec} | settings).items():
        key = name if "." in name or name == "TASK" else f"TRAINER.{NODES[method]}.{name}"
        cfg.merge_from_list([key, value])
    return cfg


def build_trainer(
    method: str, backbone: Path | str, classes: list[str] | None = None, **settings: Any
) -> Any:
    """Return a trainer with its model built, and no data; `settings` as in `trainer_cfg`."""
    cfg = trainer_cfg(method, backbone, **settings)
    trainer_class = getattr(host_module(method), TRAINERS[method])
    base = sys.modules["dassl.engine"].TrainerBase
    trainer = trainer_class.__new__(trainer_class)
    base.__init__(trainer)
    trainer.cfg, trainer.device = cfg, torch.device("cpu")
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=classes or CLASSES))
    trainer.batch_idx, trainer.num_batches, trainer.epoch = 0, 10, 0
    trainer.check_cfg(cfg)
    trainer.build_model()
    return trainer


def batch(size: int = 64, n: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """Return a random training batch."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, size, size, generator=generator)
    return {"img": images, "label": torch.arange(n) % len(CLASSES)}


def learned(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what trains."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def shake(model: nn.Module, seed: int = 3) -> None:
    """Move every learned tensor off its start, so that no part of the method is a no-op."""
    generator = torch.Generator().manual_seed(seed)
    for value in learned(model).values():
        value.data.add_((0.05 * torch.randn(value.shape, generator=generator)).to(value.dtype))


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (of MMRL: of both features) in evaluation mode."""
    model.eval()
    with torch.no_grad():
        output = model(images)
    return output[2] if isinstance(output, tuple) else output
