"""Repairs of real hosts and Dassl on today's torch; each is applied only where its cause is found.

Source of the failures: docs/HOSTS.md, which numbers them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import torch

from loreal_plugin.attach.checkpoints import read_checkpoint
from loreal_plugin.attach.compat import Shim, Undo
from loreal_plugin.attach.look import HostLook

_WILDS = "dassl.data.datasets.dg.wilds"
_ZERO_SHOT = "_get_text_base_features_zero_shot"


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _replace(owner: Any, name: str, value: Any) -> Undo:
    """Set an attribute and return what puts the old one back."""
    old = getattr(owner, name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, old)


# 1, 1b: Dassl imports the WILDS datasets eagerly -------------------------------------------------------


def _wilds_missing(look: HostLook) -> bool:
    has_wilds = look.dassl is not None and (look.dassl / "dassl/data/datasets/dg/wilds").is_dir()
    return has_wilds and any(importlib.util.find_spec(name) is None for name in ("wilds", "pandas"))


def _stub_wilds(_look: HostLook) -> Undo:
    sys.modules[_WILDS] = types.ModuleType(_WILDS)
    return lambda: sys.modules.pop(_WILDS, None) and None


# 3: the warm-up schedulers pass `verbose` on, which torch no longer takes --------------------------------


def _warmup_breaks(_look: HostLook) -> bool:
    schedulers = _module("dassl.optim.lr_scheduler")
    if not hasattr(schedulers, "ConstantWarmupScheduler"):
        return False
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    try:
        schedulers.ConstantWarmupScheduler(optimizer, after, 1, 0.01)
    except TypeError:
        return True
    return False


def _mend_warmup(_look: HostLook) -> Undo:
    base = _module("dassl.optim.lr_scheduler")._BaseWarmupScheduler

    def init(
        self: Any, optimizer: Any, successor: Any, warmup_epoch: int, last_epoch: int = -1, verbose: bool = False
    ) -> None:
        self.successor, self.warmup_epoch = successor, warmup_epoch
        torch.optim.lr_scheduler.LRScheduler.__init__(self, optimizer, last_epoch)

    return _replace(base, "__init__", init)


# 7: checkpoints carry a pickled scheduler, which torch refuses to load -----------------------------------


def _checkpoints_pickle(_look: HostLook) -> bool:
    schedulers = _module("dassl.optim.lr_scheduler")
    warmup = getattr(schedulers, "_BaseWarmupScheduler", None)
    return warmup is not None and "state_dict" not in vars(warmup)


def _read_without_unpickling(_look: HostLook) -> Undo:
    tools = _module("dassl.utils.torchtools")
    proxy = types.ModuleType("torch")
    proxy.__getattr__ = lambda name: getattr(torch, name)  # type: ignore[method-assign]
    proxy.load = lambda path, *_args, **_kwargs: read_checkpoint(path)  # type: ignore[attr-defined]
    return _replace(tools, "torch", proxy)


# 4: MMRL moves its zero-shot text encoder to CUDA whatever the device is ----------------------------------


def _zero_shot_modules() -> list[Any]:
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("trainers.") and hasattr(module, _ZERO_SHOT)
    ]


def _cuda_called(_look: HostLook) -> bool:
    return not torch.cuda.is_available() and any(
        "cuda" in getattr(module, _ZERO_SHOT).__code__.co_names for module in _zero_shot_modules()
    )


def _stay_on_cpu(_look: HostLook) -> Undo:
    undo = []
    for module in _zero_shot_modules():
        undo.append(_replace(module, _ZERO_SHOT, _without_cuda(getattr(module, _ZERO_SHOT))))
    return lambda: [step() for step in undo] and None


def _without_cuda(function: Callable) -> Callable:
    """Return `function` with `.cuda()` doing nothing while it runs."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        owners = (torch.Tensor, torch.nn.Module)
        undo = [_replace(owner, "cuda", lambda self, *_a, **_k: self) for owner in owners]
        try:
            return function(*args, **kwargs)
        finally:
            for step in undo:
                step()

    return run


# 6: MaPLe halves one projection whatever its precision is -------------------------------------------------


def _projection_halved(_look: HostLook) -> bool:
    learner = getattr(_module("trainers.maple"), "MultiModalPromptLearner", None)
    return learner is not None and "half" in learner.__init__.__code__.co_names


def _projection_in_clip_dtype(_look: HostLook) -> Undo:
    learner = _module("trainers.maple").MultiModalPromptLearner
    original = learner.__init__

    @functools.wraps(original)
    def init(self: Any, cfg: Any, classnames: list[str], clip_model: torch.nn.Module) -> None:
        original(self, cfg, classnames, clip_model)
        self.proj.to(clip_model.dtype)

    return _replace(learner, "__init__", init)


# MMRL's train.py looks the trainer's name up in a table of its own two ------------------------------------


def _trainer_table(_look: HostLook) -> bool:
    return hasattr(_module("train"), "get_dataset_specified_config")


def _name_of_the_base(_look: HostLook) -> Undo:
    train = _module("train")
    original = train.get_dataset_specified_config

    @functools.wraps(original)
    def look_up(dataset: str, trainer: str, task: str) -> list:
        return original(dataset=dataset, trainer=trainer.removesuffix("_LOREAL"), task=task)

    return _replace(train, "get_dataset_specified_config", look_up)


SHIMS: tuple[Shim, ...] = (
    Shim(
        name="wilds",
        why="Dassl data/datasets/dg/wilds: imported eagerly, needs the packages wilds and pandas",
        before_import=True,
        needed=_wilds_missing,
        apply=_stub_wilds,
    ),
    Shim(
        name="warmup",
        why="Dassl optim/lr_scheduler.py:22: passes `verbose`, which torch's LRScheduler no longer takes",
        before_import=False,
        needed=_warmup_breaks,
        apply=_mend_warmup,
    ),
    Shim(
        name="checkpoint",
        why="Dassl utils/torchtools.py:102: checkpoints hold a pickled scheduler, refused since torch 2.6",
        before_import=False,
        needed=_checkpoints_pickle,
        apply=_read_without_unpickling,
    ),
    Shim(
        name="cuda",
        why="MMRL trainers/mmrl.py:116: calls .cuda() where there is no CUDA device",
        before_import=False,
        needed=_cuda_called,
        apply=_stay_on_cpu,
    ),
    Shim(
        name="maple-proj",
        why="MaPLe trainers/maple.py:104: one projection in half precision under fp32",
        before_import=False,
        needed=_projection_halved,
        apply=_projection_in_clip_dtype,
    ),
    Shim(
        name="mmrl-names",
        why="MMRL trainers/config.py: refuses the names of trainers that are not its own",
        before_import=False,
        needed=_trainer_table,
        apply=_name_of_the_base,
    ),
)
