"""A toy data set and a toy trainer on the embedded host's dassl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from dataset_helpers import use_embedded_host
from helpers import tiny_image_folder
from torch import nn
from torch.nn import functional as F

use_embedded_host()

from dassl.config import get_cfg_default  # noqa: E402  (needs the host on the path)
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum  # noqa: E402
from dassl.engine import TRAINER_REGISTRY, TrainerX, TrainerXU  # noqa: E402
from dassl.metrics import compute_accuracy  # noqa: E402
from dassl.optim import build_lr_scheduler, build_optimizer  # noqa: E402


@DATASET_REGISTRY.register()
class ToyPictures(DatasetBase):
    """A folder per class: the first four pictures train, the fifth is val, the rest test."""

    def __init__(self, cfg: Any) -> None:
        splits: dict[str, list[Datum]] = {"train": [], "val": [], "test": []}
        for label, folder in enumerate(sorted(Path(cfg.DATASET.ROOT).iterdir())):
            for index, path in enumerate(sorted(folder.iterdir())):
                split = "train" if index < 4 else "val" if index == 4 else "test"
                splits[split].append(Datum(str(path), label, index % 2, folder.name))
        train = self.generate_fewshot_dataset(splits["train"], num_shots=cfg.DATASET.NUM_SHOTS)
        unlabelled = splits["train"] if cfg.DATASET.ALL_AS_UNLABELED else None
        super().__init__(train_x=train, train_u=unlabelled, val=splits["val"], test=splits["test"])


class ToyNet(nn.Module):
    """Mean colour, dropout (which uses the random state), linear classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(3, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(images.mean(dim=(2, 3))))


class _Toy:
    """What both toy trainers share."""

    hooks: list[str]

    def build_model(self) -> None:
        self.hooks = []
        self.model = ToyNet(self.num_classes).to(self.device)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("toy", self.model, self.optim, self.sched)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        output = self.model(images)
        loss = F.cross_entropy(output, labels)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, labels)[0].item()}


@TRAINER_REGISTRY.register()
class ToyTrainer(_Toy, TrainerX):
    """Trains on labelled pictures and notes the hooks called."""

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        images, labels, domains = self.parse_batch_train(batch)
        assert domains.shape == labels.shape
        return self._step(images, labels)

    def before_epoch(self) -> None:
        self.hooks.append(f"before {self.epoch}")

    def after_epoch(self) -> None:
        super().after_epoch()
        self.hooks.append(f"after {self.epoch}")


@TRAINER_REGISTRY.register()
class ToyTrainerXU(_Toy, TrainerXU):
    """Trains on labelled pictures, reads unlabelled ones beside them."""

    def forward_backward(
        self, batch_x: dict[str, Any], batch_u: dict[str, Any]
    ) -> dict[str, float]:
        images, labels, unlabelled = self.parse_batch_train(batch_x, batch_u)
        self.hooks.append(f"{len(images)}+{len(unlabelled)}")
        return self._step(images, labels)


def toy_cfg(root: Path, output: Path, trainer: str = "ToyTrainer", **settings: Any) -> Any:
    """Return a configuration of the toy run; `settings` use double underscores for dots."""
    if not root.exists():
        tiny_image_folder(root, classes=3, per_class=6, size=20)
    cfg = get_cfg_default()
    defaults = {
        "DATASET__NAME": "ToyPictures",
        "DATASET__ROOT": str(root),
        "OUTPUT_DIR": str(output),
        "SEED": 3,
        "TRAINER__NAME": trainer,
        "INPUT__SIZE": (16, 16),
        "INPUT__TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
        "DATALOADER__NUM_WORKERS": 0,
        "DATALOADER__TRAIN_X__BATCH_SIZE": 4,
        "OPTIM__NAME": "sgd",
        "OPTIM__LR": 0.05,
        "OPTIM__MAX_EPOCH": 4,
        "OPTIM__LR_SCHEDULER": "cosine",
        "OPTIM__WARMUP_EPOCH": 1,
        "OPTIM__WARMUP_TYPE": "constant",
    }
    pairs = [
        part for key, v in {**defaults, **settings}.items() for part in (key.replace("__", "."), v)
    ]
    cfg.merge_from_list(pairs)
    return cfg
