"""Repairs of Dassl on today's torch and numpy.

Source of the failures: docs/HOSTS.md.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from loreal_plugin.attach.compat import ModuleProxy, Shim, ShimFacts, Undo
from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims.common import module, modules_of, nodes_of, replace, together
from loreal_plugin.files import write_text
from loreal_plugin.files.tensors import replay_schedule, write_torch
from loreal_plugin.weights.host_checkpoints import read_saved

_WILDS = "dassl.data.datasets.dg.wilds"
_TOOLS = "dassl.utils.torchtools"
_RESUME = "resume_from_checkpoint"
_TRANSFORMS = "dassl.data.transforms."
# what numpy took away in 1.24, and what each stood for
_NUMPY_NAMES = {"int": int, "float": float, "bool": bool}


# Dassl imports the WILDS datasets eagerly


def _wilds_missing(inspection: HostInspection) -> bool:
    root = inspection.dassl_root
    has_wilds = root is not None and (root / "dassl/data/datasets/dg/wilds").is_dir()
    return has_wilds and any(importlib.util.find_spec(name) is None for name in ("wilds", "pandas"))


def _stub_wilds(_inspection: HostInspection) -> Undo:
    sys.modules[_WILDS] = types.ModuleType(_WILDS)
    return lambda: sys.modules.pop(_WILDS, None) and None


# the warm-up schedulers pass `verbose` on, which torch no longer takes


def _warmup_breaks(_inspection: HostInspection) -> bool:
    schedulers = module("dassl.optim.lr_scheduler")
    if not hasattr(schedulers, "ConstantWarmupScheduler"):
        return False
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    try:
        schedulers.ConstantWarmupScheduler(optimizer, after, 1, 0.01)
    except TypeError:
        return True
    return False


def _mend_warmup(_inspection: HostInspection) -> Undo:
    base = module("dassl.optim.lr_scheduler")._BaseWarmupScheduler

    def init(
        self: Any,
        optimizer: Any,
        successor: Any,
        warmup_epoch: int,
        last_epoch: int = -1,
        verbose: bool = False,
    ) -> None:
        self.successor, self.warmup_epoch = successor, warmup_epoch
        torch.optim.lr_scheduler.LRScheduler.__init__(self, optimizer, last_epoch)

    return replace(base, "__init__", init)


# checkpoints carry a pickled scheduler, which torch refuses to load


def _pickles_successor(_inspection: HostInspection) -> bool:
    warmup = getattr(module("dassl.optim.lr_scheduler"), "_BaseWarmupScheduler", None)
    return warmup is not None and "state_dict" not in vars(warmup)


def _read_without_unpickling(_inspection: HostInspection) -> Undo:
    tools = module(_TOOLS)
    proxy = ModuleProxy(tools.torch, load=lambda path, *_args, **_kwargs: read_saved(path))
    return replace(tools, "torch", proxy)


# a resumed run steps a pickled copy of the schedule, and a killed one leaves half a checkpoint


def _resumes_with_a_copy(inspection: HostInspection) -> bool:
    return _pickles_successor(inspection) and hasattr(module(_TOOLS), _RESUME)


def _resume_with_the_live_schedule(_inspection: HostInspection) -> Undo:
    tools = module(_TOOLS)
    original = getattr(tools, _RESUME)

    def resume(fdir: str, model: Any, optimizer: Any = None, scheduler: Any = None) -> int:
        if not _names_a_checkpoint(Path(fdir)):
            print(f"{fdir} has no whole checkpoint, train from scratch")
            return 0
        if optimizer is None or not hasattr(scheduler, "successor"):
            return original(fdir, model, optimizer, scheduler)
        rates = [group["lr"] for group in optimizer.param_groups]
        epoch = original(fdir, model, optimizer, None)
        saved = [group["lr"] for group in optimizer.param_groups]
        _set_rates(optimizer, rates)  # each step of the schedule starts from the rate before it
        replay_schedule(scheduler, epoch)
        _set_rates(optimizer, saved)
        return epoch

    owners = [found for found in modules_of("dassl") if vars(found).get(_RESUME) is original]
    undo = [replace(owner, _RESUME, resume) for owner in owners]
    return together([*undo, replace(tools, "torch", ModuleProxy(tools.torch, save=_save_whole))])


def _names_a_checkpoint(folder: Path) -> bool:
    """Say whether the file `checkpoint` names one; where a kill left it empty, it is mended."""
    path = folder / "checkpoint"
    if not path.is_file():
        return False
    if path.read_text(encoding="utf-8").strip():
        return True
    # it was opened to name the newest checkpoint, which is whole by then
    found = (re.fullmatch(r"model\.pth\.tar-(\d+)", file.name) for file in folder.iterdir())
    epochs = [int(match[1]) for match in found if match]
    if epochs:
        write_text(path, f"model.pth.tar-{max(epochs)}\n")
    return bool(epochs)


def _set_rates(optimizer: Any, rates: list[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _save_whole(content: Any, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
    """Write a checkpoint whole: a killed run leaves the old one or the new one."""
    write_torch(Path(path), content, *args, **kwargs)


# RandAugment and AutoAugment use names that numpy no longer has


def _modules_with_old_names() -> list[tuple[types.ModuleType, set[str]]]:
    """Return the modules that use names which numpy no longer has, and these names."""
    gone = {name for name in _NUMPY_NAMES if not hasattr(np, name)}
    suspects = [
        m
        for m in modules_of("dassl")
        if m.__name__.startswith(_TRANSFORMS) and vars(m).get("np") is np
    ]
    found = [(suspect, _attributes_of_np(suspect) & gone) for suspect in suspects]
    return [(suspect, used) for suspect, used in found if used]


def _attributes_of_np(owner: types.ModuleType) -> set[str]:
    """Return the x of every `np.x` in a module."""
    pairs = ((node.value, node.attr) for node in nodes_of(owner) if isinstance(node, ast.Attribute))
    return {name for value, name in pairs if isinstance(value, ast.Name) and value.id == "np"}


def _lend_old_names(_inspection: HostInspection) -> Undo:
    return together(
        replace(owner, "np", ModuleProxy(np, **{name: _NUMPY_NAMES[name] for name in used}))
        for owner, used in _modules_with_old_names()
    )


DASSL_SHIMS: tuple[Shim, ...] = (
    Shim(
        ShimFacts(
            "wilds",
            "Dassl",
            "dassl/data/datasets/dg/wilds/wilds_base.py:7",
            "where wilds or pandas is not installed",
            "the WILDS datasets are imported eagerly: ModuleNotFoundError",
        ),
        _wilds_missing,
        _stub_wilds,
        before_import=True,
    ),
    Shim(
        ShimFacts(
            "warmup",
            "Dassl",
            "dassl/optim/lr_scheduler.py:22",
            "torch 2.7",
            "the warm-up schedulers pass `verbose`, which torch's LRScheduler no longer takes:"
            " TypeError",
        ),
        _warmup_breaks,
        _mend_warmup,
    ),
    Shim(
        ShimFacts(
            "checkpoint",
            "Dassl",
            "dassl/utils/torchtools.py:102",
            "torch 2.6",
            "checkpoints hold a pickled scheduler, which torch.load refuses; the tensors are read,"
            " nothing of the file is executed",
        ),
        _pickles_successor,
        _read_without_unpickling,
    ),
    Shim(
        ShimFacts(
            "resume",
            "Dassl",
            "dassl/optim/lr_scheduler.py:20, dassl/utils/torchtools.py:151",
            "always",
            "a resumed run steps a pickled copy of its schedule, so its learning rate freezes; a"
            " run killed while it saves cannot go on",
        ),
        _resumes_with_a_copy,
        _resume_with_the_live_schedule,
    ),
    Shim(
        ShimFacts(
            "numpy",
            "Dassl",
            "dassl/data/transforms/randaugment.py:93, autoaugment.py:181",
            "numpy 1.24",
            "RandAugment and AutoAugment use np.int: AttributeError",
        ),
        lambda _inspection: bool(_modules_with_old_names()),
        _lend_old_names,
    ),
)
