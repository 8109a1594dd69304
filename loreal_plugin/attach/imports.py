"""Where a host's modules come from, and what is added to them; all of it is taken back."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.data import add_data_keys, register_plugin_datasets
from loreal_plugin.options import add_loreal_node
from loreal_plugin.paths import embedded_host
from loreal_plugin.pictures import read_picture

_DEFAULTS, _CLEAN = "get_cfg_default", "clean_cfg"
_READ_IMAGE = "read_image"
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


@contextmanager
def imports_from(inspection: HostInspection) -> Iterator[None]:
    """Let the host's top-level names come from the host; put modules and paths back afterwards.

    Modules of these names from elsewhere (another `datasets`, an installed `clip`) are set aside.
    No byte code is written meanwhile: nothing may change under the host.

    Where a part of the host was imported already, what came with it stays imported: its registries
    remember it, and importing it once more would register it twice.
    """
    path, dont_write = list(sys.path), sys.dont_write_bytecode
    no_bytecode = os.environ.get(_NO_BYTECODE)
    foreign = {
        name
        for name, root in inspection.packages.items()
        if not _comes_from(sys.modules.get(name), root)
    }
    of_host = set(inspection.packages)
    # of a host that was imported in part, all stays but what came from elsewhere
    set_aside = {name for name in foreign if name in sys.modules}
    stays = of_host - set_aside if of_host - foreign else set()
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] in of_host}
    for name in before:
        if name.split(".")[0] in foreign:
            del sys.modules[name]
    roots = dict.fromkeys(
        [str(inspection.path), *([str(inspection.dassl)] if inspection.dassl else [])]
    )
    sys.path[:] = [*roots, *(entry for entry in path if entry not in roots)]
    sys.dont_write_bytecode = True
    os.environ[_NO_BYTECODE] = "1"  # data loaders may start fresh interpreters
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, dont_write
        if no_bytecode is None:
            os.environ.pop(_NO_BYTECODE, None)
        for name in [name for name in sys.modules if name.split(".")[0] in of_host - stays]:
            del sys.modules[name]
        sys.modules.update(before)
        importlib.invalidate_caches()


@contextmanager
def plugin_keys() -> Iterator[Callable[[ModuleType], None]]:
    """Add the plug-in's keys to every default configuration; yields what does so in another module.

    The default is changed, not `extend_cfg`: hosts' `train.py` takes the function over by name.
    `clean_cfg` drops the nodes of all trainers but one, so ours comes back after it.
    """
    config = importlib.import_module("dassl.config")
    originals = {
        name: getattr(config, name) for name in (_DEFAULTS, _CLEAN) if hasattr(config, name)
    }

    def get_cfg_default() -> Any:
        cfg = originals[_DEFAULTS]()
        add_loreal_node(cfg)
        add_data_keys(cfg)
        return cfg

    def clean_cfg(cfg: Any, trainer: str) -> None:
        originals[_CLEAN](cfg, trainer)
        add_loreal_node(cfg)

    ours = {_DEFAULTS: get_cfg_default, _CLEAN: clean_cfg}
    with ExitStack() as undo:

        def replace(module: ModuleType) -> None:
            for name, original in originals.items():
                if getattr(module, name, None) is original:
                    setattr(module, name, ours[name])
                    undo.callback(setattr, module, name, original)

        replace(config)
        yield replace


@contextmanager
def plugin_trainers() -> Iterator[None]:
    """Let `trainers.<method>_loreal` of every row be found beside the host's own trainers."""
    paths = sys.modules["trainers"].__path__
    ours = list(dict.fromkeys(str(row.trainer_file.parent) for row in CONTRACTS.values()))
    paths.extend(ours)
    try:
        yield
    finally:
        for folder in ours:
            paths.remove(folder)


@contextmanager
def plugin_image_reader(inspection: HostInspection) -> Iterator[None]:
    """Let a stranger's loaders read pictures as we do: a turned or 16-bit picture then looks alike
    in all stages and tests. The embedded host's reader does so itself.
    """
    original = getattr(sys.modules.get("dassl.utils"), _READ_IMAGE, None)
    named = [
        module
        for name, module in list(sys.modules.items())
        if name.split(".")[0] == "dassl" and getattr(module, _READ_IMAGE, None) is original
    ]
    if original is None or inspection.path == embedded_host():
        named = []
    for module in named:
        setattr(module, _READ_IMAGE, read_picture)
    try:
        yield
    finally:
        for module in named:
            setattr(module, _READ_IMAGE, original)


def register_datasets() -> None:
    """Register the plug-in's datasets with the host.

    Raises:
        HostError: the host has others of these names.
    """
    datasets = importlib.import_module("dassl.data.datasets")
    register_plugin_datasets(datasets.DATASET_REGISTRY, datasets.DatasetBase, datasets.Datum)


def _comes_from(module: ModuleType | None, root: Path) -> bool:
    """Say whether an imported module lies below `root`; a folder without `__init__.py` has no
    file.
    """
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place and Path(place).resolve().is_relative_to(root) for place in places)
