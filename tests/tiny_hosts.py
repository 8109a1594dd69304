"""Host recipes that fit the tiny random CLIP, and students of the embedded host made with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from loreal_plugin.attach import AttachedHost
from loreal_plugin.students.build import build_student
from loreal_plugin.students.student import Student

METHODS = ("coop", "maple", "mma", "mmrl")  # of the embedded host; stand_ins has the others
CLASSNAMES = ("airplane", "hot air balloon", "photo", "sea_lion")

# The tiny CLIP has three layers;
# deep prompts, adapters and representation tokens have to lie within.
RECIPES = {
    "coop": ["TRAINER.COOP.CTX_INIT", "a photo of a", "TRAINER.COOP.PREC", "fp32"],
    "maple": ["TRAINER.MAPLE.PROMPT_DEPTH", "3", "TRAINER.MAPLE.PREC", "fp32"],
    "mma": [
        *("TRAINER.MMADAPTER.TEXT_CTX_INIT", "a photo of a"),
        *("TRAINER.MMADAPTER.ADAPTER_START", "2", "TRAINER.MMADAPTER.ADAPTER_END", "3"),
        *("TRAINER.MMADAPTER.ADAPTER_SCALE", "0.5", "TRAINER.MMADAPTER.PREC", "fp32"),
    ],
    "mmrl": [
        *("TRAINER.MMRL.REP_LAYERS", "[2, 3]", "TRAINER.MMRL.REP_DIM", "32"),
        *("TRAINER.MMRL.PREC", "fp32"),
    ],
    "cocoop": ["TRAINER.COCOOP.CTX_INIT", "a photo of a", "TRAINER.COCOOP.PREC", "fp32"],
    "ivlp": [
        *("TRAINER.IVLP.PROMPT_DEPTH_VISION", "3", "TRAINER.IVLP.PROMPT_DEPTH_TEXT", "3"),
        *("TRAINER.IVLP.PREC", "fp32"),
    ],
}


def tiny_cfg(
    host: AttachedHost, clip_file: Path, *opts: str, size: int = 64, dataset: str = "Caltech101"
) -> Any:
    """Return the host's configuration, tiny recipe of its method; `opts` are KEY VALUE pairs."""
    method = host.contract.method
    given = ["MODEL.BACKBONE.NAME", str(clip_file), "DATASET.NAME", dataset]
    given += ["INPUT.SIZE", f"({size}, {size})"]
    return host.setup_cfg(["--trainer", host.contract.trainer, *given, *RECIPES[method], *opts])


def tiny_student(
    host: AttachedHost,
    clip_file: Path,
    *opts: str,
    size: int = 64,
    names: tuple[str, ...] = CLASSNAMES,
    seed: int = 0,
    dataset: str = "Caltech101",
    **kwargs: Any,
) -> Student:
    """Return a student with random learned tensors of `seed`, large enough to matter."""
    torch.manual_seed(seed)
    cfg = tiny_cfg(host, clip_file, *opts, size=size, dataset=dataset)
    kwargs = {"checkpoint_dir": None, **kwargs}
    student = build_student(host, cfg, names, "cpu", input_size=size, **kwargs)
    if kwargs["checkpoint_dir"] is None:
        for value in student.learned.values():
            value.copy_(torch.randn_like(value) * 0.1)
        student.contract.reset(student.model)
    return student


def save_host_checkpoint(student: Student, folder: Path, epoch: int = 1) -> Path:
    """Write what the host's own trainer would save of a student's model, and return `folder`."""
    contract = student.contract
    registered = student.model if contract.whole_model else contract.own(student.model)
    path = folder / contract.checkpoint / f"model.pth.tar-{epoch}"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.clone() for name, value in registered.state_dict().items()}
    rest = {"epoch": epoch, "optimizer": None, "scheduler": None, "val_result": None}
    torch.save({"state_dict": state, **rest}, path)
    return folder
