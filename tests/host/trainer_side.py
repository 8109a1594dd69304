"""Run one host's model of one method and save what it gives; started by a test.

    python trainer_side.py <job.json>

The job names the folders to put on the path, the settings, and the files for state and results. A
process of its own, because every host has its own `trainers`, `clip` and `dassl`.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ["airplane", "ice_cream cone", "dalmatian", "golden_retriever dog"]
NODES = {"coop": "COOP", "maple": "MAPLE", "mmadapter": "MMADAPTER", "mmrl": "MMRL"}
SETTINGS = {
    "COOP": {"N_CTX": 4, "CSC": False, "CTX_INIT": "a photo of a", "CLASS_TOKEN_POSITION": "end"},
    "MAPLE": {"N_CTX": 2, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 3},
    "MMADAPTER": {
        "TEXT_CTX_INIT": "a photo of a",
        "ADAPTER_START": 0,
        "ADAPTER_END": 2,
        "ADAPTER_DIM": 32,
    },
    "MMRL": {
        "ALPHA": 0.7,
        "REG_WEIGHT": 0.5,
        "REP_LAYERS": [2, 3],
        "REP_DIM": 128,
        "N_REP_TOKENS": 5,
    },
}


def prepare(real: bool) -> None:
    """Make a public checkout run on this machine: absent packages, and MaPLe's casts to half
    precision.

    MaPLe rounds its prompts to half whatever the precision is; both sides are compared without
    that.
    """
    if not real:
        from loreal_plugin.weights import import_clip

        import_clip()
        return
    for absent in ("dassl.data.datasets.dg.wilds", "gdown"):
        sys.modules.setdefault(absent, types.ModuleType(absent))
    torch.Tensor.half = lambda self: self
    nn.Module.half = lambda self: self


def build(module: Any, name: str, job: dict) -> nn.Module:
    """Return the host's `CustomCLIP` in float32."""
    from dassl.config import get_cfg_default
    from yacs.config import CfgNode

    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.DATASET.NAME = (job["size"], job["size"]), "OxfordPets"
    cfg.MODEL.BACKBONE.NAME = "ViT-B/16" if job["real"] else job["clip"]
    for node, settings in SETTINGS.items():
        cfg.TRAINER[node] = CfgNode(settings | {"PREC": "fp32", "ADAPTER_SCALE": 0.1})
    if job["real"]:
        importlib.import_module("clip.clip")._download = lambda url, root=None: job["clip"]
    extra = ["MMRL"] if name == "mmrl" else []
    clip_model = module.load_clip_to_cpu(cfg, *extra).float().requires_grad_(False)
    return module.CustomCLIP(cfg, CLASSES, clip_model)


def loss_of(module: Any, name: str, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the host's training loss; MMRL's with made-up teacher features."""
    if name == "maple":
        return model(images, labels)
    output = model(images)
    if name != "mmrl":
        return F.cross_entropy(output, labels)
    image, text = output[3], output[4]
    criterion = module.MMRL_Loss(reg_weight=0.5, alpha=0.7)
    return criterion(
        output[0], output[1], image, text, image.detach() + 0.1, text.detach() - 0.1, labels
    )


def main(job: dict) -> None:
    """Build, load or save the state, and save logits, loss and gradients."""
    sys.path[:0] = job["path"]
    prepare(job["real"])
    name = job["module"]
    module = importlib.import_module(f"trainers.{name}")
    model = build(module, name, job)
    own = {
        key: value
        for key, value in model.named_parameters()
        if "learner" in key or "proj_rep" in key
    }
    if job["load"]:
        model.load_state_dict(torch.load(job["state"]))
    else:
        generator = torch.Generator().manual_seed(5)
        for value in own.values():
            value.data.add_(0.05 * torch.randn(value.shape, generator=generator))
        torch.save(model.state_dict(), job["state"])
    for value in own.values():
        value.requires_grad_(True)  # MMRL's second projection came with the CLIP that was frozen
    images = torch.randn(4, 3, job["size"], job["size"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = model.eval()(images)
    found = {
        f"output {i}": part
        for i, part in enumerate(output if isinstance(output, tuple) else [output])
    }
    loss = loss_of(module, name, model.train(), images, torch.arange(4))
    loss.backward()
    found["loss"] = loss.detach()
    found |= {
        f"gradient of {key}": value.grad for key, value in own.items() if value.grad is not None
    }
    torch.save(found, job["out"])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        main(json.load(file))
