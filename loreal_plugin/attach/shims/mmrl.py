"""Repairs of MMRL's repository.

Source of the failures: docs/HOSTS.md.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from loreal_plugin.attach.arguments import with_defaults
from loreal_plugin.attach.compat import ModuleProxy, Shim, ShimFacts, Undo
from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims.common import (
    classes_in,
    module,
    names_in,
    together,
    wrap,
)
from loreal_plugin.errors import CheckpointError

_TABLE = "get_dataset_specified_config"

# its train.py wants TASK on the command line; its table of trainers has two names alone


def _task_wanted(_inspection: HostInspection) -> bool:
    code = getattr(getattr(module("train"), "setup_cfg", None), "__code__", None)
    return code is not None and "TASK" in code.co_consts


def _task_by_default(_inspection: HostInspection) -> Undo:
    def around(original: Callable) -> Callable:
        def setup_cfg(args: Any) -> Any:
            args.opts = with_defaults(args.opts, {"TASK": "B2N"})
            return original(args)

        return setup_cfg

    return wrap(module("train"), "setup_cfg", around)


def _table_of_trainers(_inspection: HostInspection) -> bool:
    """Say whether the table asks for a trainer; CoPrompt has one of this name that does not."""
    table = getattr(module("train"), _TABLE, None)
    return callable(table) and "trainer" in inspect.signature(table).parameters


def _name_of_the_base(_inspection: HostInspection) -> Undo:
    def around(original: Callable) -> Callable:
        def look_up(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(original).bind(*args, **kwargs)
            given.arguments["trainer"] = given.arguments["trainer"].removesuffix("_LOREAL")
            return original(*given.args, **given.kwargs)

        return look_up

    return wrap(module("train"), _TABLE, around)


# its load_model takes whatever file comes last, whichever epoch was asked for


def _listing_loaders(_inspection: HostInspection) -> list[type]:
    kinds = classes_in("trainers")
    return [kind for kind in kinds if "listdir" in names_in(vars(kind).get("load_model"))]


def _load_the_epoch(inspection: HostInspection) -> Undo:
    """Let the host's own `load_model` see the wanted file only."""

    def around(original: Callable) -> Callable:
        def load_model(self: Any, directory: str, epoch: int | None = None) -> Any:
            if not directory or epoch is None:
                return original(self, directory, epoch)
            for name in self.get_model_names():
                _check_epoch(Path(directory) / name, epoch)
            with _only_epoch(original, epoch):
                return original(self, directory, epoch)

        return load_model

    return together([wrap(kind, "load_model", around) for kind in _listing_loaders(inspection)])


def _check_epoch(folder: Path, epoch: int) -> None:
    names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    there = [match[1] for name in names if (match := re.fullmatch(r"model\.pth\.tar-(\d+)", name))]
    if str(epoch) not in there:
        raise CheckpointError(
            f"{folder}: epoch {epoch} was asked for; epochs there: {', '.join(there) or 'none'}"
        )


@contextmanager
def _only_epoch(loader: Callable, epoch: int) -> Iterator[None]:
    names = loader.__globals__
    before = names["os"]
    names["os"] = ModuleProxy(before, listdir=lambda _path: [f"model.pth.tar-{epoch}"])
    try:
        yield
    finally:
        names["os"] = before


# its text blocks enlarge their attention mask and leave it so


def _masks_stick(_inspection: HostInspection) -> bool:
    forwards = [
        names_in(vars(kind).get("forward"))
        for kind in classes_in("clip")
        if issubclass(kind, nn.Module)
    ]
    return any({"attn_mask", "triu_"} <= names for names in forwards)


def _masks_put_back(_inspection: HostInspection) -> Undo:
    def around(original: Callable) -> Callable:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            blocks = [block for block in self.transformer.resblocks if hasattr(block, "attn_mask")]
            before = [block.attn_mask for block in blocks]
            try:
                return original(self, *args, **kwargs)
            finally:
                for block, mask in zip(blocks, before, strict=True):
                    block.attn_mask = mask

        return forward

    encoders = [
        kind
        for kind in classes_in("trainers")
        if kind.__name__.startswith("TextEncoder") and "forward" in vars(kind)
    ]
    return together([wrap(kind, "forward", around) for kind in encoders])


MMRL_SHIMS: tuple[Shim, ...] = (
    Shim(
        ShimFacts(
            "mmrl-task",
            "MMRL",
            "train.py:132",
            "always",
            "TASK is looked for among the command line's options only: ValueError; B2N is added"
            " where it is missing",
        ),
        _task_wanted,
        _task_by_default,
    ),
    Shim(
        ShimFacts(
            "mmrl-names",
            "MMRL",
            "trainers/config.py:4",
            "always",
            "names of trainers other than its own two are refused: AssertionError",
        ),
        _table_of_trainers,
        _name_of_the_base,
    ),
    Shim(
        ShimFacts(
            "mmrl-epoch",
            "MMRL",
            "trainers/mmrl.py:463",
            "always",
            "load_model ignores --load-epoch and takes whatever file is listed last",
        ),
        lambda inspection: bool(_listing_loaders(inspection)),
        _load_the_epoch,
    ),
    Shim(
        ShimFacts(
            "mmrl-mask",
            "MMRL",
            "clip/model_mmrl.py:243",
            "always",
            "text blocks keep the attention mask of their longer sequence: a plain pass afterwards"
            " fails",
        ),
        _masks_stick,
        _masks_put_back,
    ),
)
