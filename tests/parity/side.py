"""Builds, tests and trains one step of one method on one host, and saves every number of it;
started by a test.

    python side.py job.json

The job names host, dassl, method, recipe (or none: that of two layers below), pictures, sizes, the
folder of the checkpoint (written, or read with `load`) and the file for the results. A process of
its own, because a process attaches one host.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# for a CLIP of two layers; at full depth the public recipes are used as they are
RECIPES = {
    "coop": ["TRAINER.COOP.CTX_INIT", "a photo of a", "TRAINER.COOP.PREC", "fp32"],
    "maple": [
        *("TRAINER.MAPLE.PROMPT_DEPTH", "2", "TRAINER.MAPLE.CTX_INIT", "a photo of a"),
        *("TRAINER.MAPLE.PREC", "fp32"),
    ],
    "mma": [
        *("TRAINER.MMADAPTER.TEXT_CTX_INIT", "a photo of a", "TRAINER.MMADAPTER.PREC", "fp32"),
        *("TRAINER.MMADAPTER.ADAPTER_START", "1", "TRAINER.MMADAPTER.ADAPTER_END", "2"),
        *("TRAINER.MMADAPTER.ADAPTER_SCALE", "0.1"),
    ],
    "mmrl": [
        "TRAINER.MMRL.REP_LAYERS",
        "[1, 2]",
        "TRAINER.MMRL.REP_DIM",
        "64",
        "TRAINER.MMRL.PREC",
        "fp32",
    ],
}


def config_of(host: Any, job: dict[str, Any], size: int) -> Any:
    """Return the host's config for the method at an input size."""
    contract = host.contract
    recipe = RECIPES[contract.method]
    if job["recipe"]:
        recipe = [f"TRAINER.{contract.cfg_node}.PREC", "fp32"]
    return host.setup_cfg(
        [
            *(("--config-file", job["recipe"]) if job["recipe"] else ()),
            *("--root", job["pictures"], "--seed", "1", "--trainer", contract.trainer),
            *(
                "--dataset-config-file",
                job["dataset_yaml"],
                "--output-dir",
                str(Path(job["out"]).parent / "log"),
            ),
            *(
                "INPUT.SIZE",
                f"({size}, {size})",
                "DATASET.FOLDER",
                "pets",
                "DATASET.NUM_SHOTS",
                "2",
            ),
            *("DATALOADER.NUM_WORKERS", "0", "OPTIM.MAX_EPOCH", "2", "OPTIM.LR", "0.01"),
            *("MODEL.BACKBONE.NAME", "ViT-B/16", "DATALOADER.TRAIN_X.BATCH_SIZE", "4", *recipe),
        ]
    )


def shake(learned: dict[str, Tensor]) -> None:
    """Move every learned tensor off its start, so that no part of the method is a no-op."""
    generator = torch.Generator().manual_seed(5)
    for value in learned.values():
        value.data.add_((0.05 * torch.randn(value.shape, generator=generator)).to(value.dtype))


def outputs(trainer: Any, contract: Any, images: Tensor) -> dict[str, Tensor]:
    """Return features and logits in evaluation mode."""
    model = trainer.model
    trainer.set_model_mode("eval")
    contract.reset(model)
    with torch.no_grad():
        prompts, tokens = contract.prompt_rows(model)
        found = {
            "image features": contract.encode_image(model, images),
            "text features": contract.encode_text(model, prompts, tokens.to(prompts.device)),
        }
        contract.reset(model)
        logits = model(images)
    parts = logits[:3] if isinstance(logits, tuple) else (logits,)
    return found | {f"logits {index}": part for index, part in enumerate(parts)}


def one_step(trainer: Any, contract: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the loss and the gradients of the trainer's own training step."""
    learned = contract.learned(trainer.model)
    trainer.set_model_mode("train")
    contract.reset(trainer.model)
    trainer.batch_idx, trainer.num_batches, trainer.epoch = 0, 10, 0
    loss = torch.tensor(trainer.forward_backward(batch)["loss"], dtype=torch.float64)
    grads = {
        f"gradient of {name}": value.grad.clone()
        for name, value in learned.items()
        if value.grad is not None
    }
    return {"loss": loss, **grads}


def text_paths(host: Any, trainer: Any, job: dict[str, Any], size: int) -> dict[str, Tensor]:
    """Return text features (B, C, D_v) with slots, by the host's encoder and the prefix path."""
    from loreal_plugin.options import resolve_options
    from loreal_plugin.students.build import build_student
    from loreal_plugin.students.student import build_text_path

    student = build_student(
        host,
        trainer.cfg,
        trainer.dm.dataset.classnames,
        "cpu",
        input_size=size,
        checkpoint_dir=job["checkpoint"],
        epoch=1,
    )
    words = ("color", "body shape")
    contents = 0.1 * torch.randn(
        2, len(words), student.token_weight.shape[1], generator=torch.Generator().manual_seed(3)
    )
    found = {}
    for name in ("reference", "prefix"):
        options = replace(
            resolve_options(trainer.cfg.TRAINER.LOREAL), text_path=name, n_attributes=len(words)
        )
        with torch.no_grad():
            found[f"{name} text path"] = build_text_path(student, words, options)(contents)
    return found


def main(job: dict[str, Any]) -> None:
    """Do what the job says at each size; the checkpoint is that of the first size."""
    from loreal_plugin.attach import attach_host

    host = attach_host(job["host"], job["method"], dassl=job["dassl"])
    found: dict[str, Tensor] = {}
    load = job["load"]
    for size in job["sizes"]:
        torch.manual_seed(0)
        trainer = host.build_trainer(config_of(host, job, size))
        if load:
            trainer.load_model(job["checkpoint"], epoch=1)
        else:
            shake(host.contract.learned(trainer.model))
            trainer.save_model(0, job["checkpoint"], val_result=0.0)
            load = True
        generator = torch.Generator().manual_seed(size)
        images = torch.randn(4, 3, size, size, generator=generator)
        batch = {"img": images, "label": torch.arange(4)}
        here = outputs(trainer, host.contract, images)
        here |= text_paths(host, trainer, job, size) if size == job["sizes"][-1] else {}
        here |= one_step(trainer, host.contract, batch)
        found |= {f"{name} at {size}": value.detach() for name, value in here.items()}
    found["shims"] = host.shims  # type: ignore[assignment]
    torch.save(found, job["out"])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        main(json.load(file))
