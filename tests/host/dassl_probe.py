"""Print what a `dassl` computes as JSON; a test runs it on the embedded host's and on the real one.

    python dassl_probe.py <folder with dassl> <folder with pictures>

A process of its own, because both packages have the same name.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import types
from pathlib import Path
from typing import Any


def _prepare(folder: str) -> None:
    """Put that dassl first; the real one gets absent modules and schedulers that torch refuses."""
    sys.path[:0] = [folder, str(Path(__file__).resolve().parents[2])]
    for absent in ("dassl.data.datasets.dg.wilds", "gdown"):
        sys.modules.setdefault(absent, types.ModuleType(absent))
    import torch
    from dassl.optim import lr_scheduler

    if hasattr(lr_scheduler, "_BaseWarmupScheduler"):

        def init(self: Any, optimizer: Any, successor: Any, warmup_epoch: int, *rest: Any) -> None:
            self.successor, self.warmup_epoch = successor, warmup_epoch
            torch.optim.lr_scheduler.LRScheduler.__init__(self, optimizer)

        lr_scheduler._BaseWarmupScheduler.__init__ = init


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: repr(value)}
    return found


def _rates(**settings: Any) -> list[float]:
    import torch
    from dassl.config import get_cfg_default
    from dassl.optim import build_lr_scheduler, build_optimizer

    cfg = get_cfg_default().OPTIM
    cfg.merge_from_list(
        [part for pair in {"NAME": "sgd", "LR": 0.1, **settings}.items() for part in pair]
    )
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _data(pictures: str) -> dict[str, Any]:
    """Return few-shot draws, what loaders give in two epochs, and the lines printed on the way."""
    import torch
    from dassl.config import get_cfg_default
    from dassl.data import DataManager
    from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
    from dassl.utils import set_random_seed

    @DATASET_REGISTRY.register()
    class Probe(DatasetBase):
        def __init__(self, cfg: Any) -> None:
            folders = sorted(Path(pictures).iterdir())
            items = [
                Datum(str(p), n, 0, f.name)
                for n, f in enumerate(folders)
                for p in sorted(f.iterdir())
            ]
            random.seed(4)
            train = self.generate_fewshot_dataset(items, num_shots=3)
            super().__init__(train_x=train, test=items)

    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = "Probe", (32, 32), "bicubic"
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 0, 4
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        manager = DataManager(cfg)
    set_random_seed(9)
    batches = [batch for _ in range(2) for batch in (*manager.train_loader_x, *manager.test_loader)]
    return {
        "train": [item.impath for item in manager.dataset.train_x],
        "order": [
            [batch["index"].tolist(), batch["label"].tolist(), batch["impath"]] for batch in batches
        ],
        "pixels": [batch["img"].to(torch.float64).sum().item() for batch in batches],
        "keys": sorted(batches[0]),
        "said": said.getvalue().splitlines(),
    }


def _evaluation() -> dict[str, float]:
    import torch
    from dassl.config import get_cfg_default
    from dassl.evaluation import build_evaluator

    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = build_evaluator(cfg, lab2cname={0: "a", 1: "b", 2: "c"})
    generator = torch.Generator().manual_seed(2)
    evaluator.process(
        torch.randn(30, 3, generator=generator), torch.randint(0, 3, (30,), generator=generator)
    )
    return {name: float(value) for name, value in evaluator.evaluate().items()}


def main(folder: str, pictures: str) -> None:
    """Print everything that is compared, as one JSON object."""
    with contextlib.redirect_stdout(sys.stderr):
        _prepare(folder)
        from dassl.config import get_cfg_default

        found = {
            "config": _flat(get_cfg_default()),
            "cosine": _rates(
                LR_SCHEDULER="cosine", MAX_EPOCH=6, WARMUP_EPOCH=1, WARMUP_TYPE="constant"
            ),
            "linear": _rates(LR_SCHEDULER="multi_step", STEPSIZE=(1, 3), WARMUP_EPOCH=2),
            "no recount": _rates(LR_SCHEDULER="cosine", WARMUP_EPOCH=2, WARMUP_RECOUNT=False),
            "plain": _rates(LR_SCHEDULER="single_step", MAX_EPOCH=3),
            "data": _data(pictures),
            "evaluation": _evaluation(),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
