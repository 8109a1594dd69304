"""Repairs of what several hosts' trainers and datasets have in common.

Source of the failures: docs/HOSTS.md.
"""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable
from inspect import isfunction
from types import ModuleType
from typing import IO, Any

import torch
from torch import nn

from loreal_plugin.attach.compat import ModuleProxy, Shim, ShimFacts, Undo
from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims.common import (
    classes_of,
    modules_of,
    names_in,
    nodes_of,
    replace,
    together,
    tree_of,
    wrap,
)
from loreal_plugin.data.register import PLUGIN_DATASETS
from loreal_plugin.errors import DataError

_CACHED = "_for_inference"
PLAIN_TEMPLATE = "a photo of a {}."

# models and tensors go to CUDA whatever the device is


def _cuda_callers(inspection: HostInspection) -> list[tuple[Any, str]]:
    """Return (module or class, function) of what calls `.cuda()` on something, by its source.

    Trainers call further modules of their checkout; only Dassl asks for a device everywhere.
    """
    found: list[tuple[Any, str]] = []
    packages = [name for name in inspection.packages if name != "dassl"]
    for owner in (one for name in packages for one in modules_of(name)):
        for node in ast.iter_child_nodes(tree_of(owner)):
            if isinstance(node, ast.FunctionDef) and _calls_cuda(node):
                found.append((owner, node.name))
            elif isinstance(node, ast.ClassDef):
                kind = vars(owner).get(node.name)
                found += [
                    (kind, method.name)
                    for method in node.body
                    if isinstance(method, ast.FunctionDef) and _calls_cuda(method)
                ]
    # a static method or a property would not be one any more
    return [(owner, name) for owner, name in found if isfunction(vars(owner).get(name))]


def _calls_cuda(function: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "cuda"
        for node in ast.walk(function)
    )


def _stay_on_cpu(inspection: HostInspection) -> Undo:
    def around(function: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            owners = (torch.Tensor, nn.Module)
            undo = together(
                [replace(owner, "cuda", lambda self, *_a, **_k: self) for owner in owners]
            )
            try:
                return function(*args, **kwargs)
            finally:
                undo()

        return run

    return together([wrap(owner, name, around) for owner, name in _cuda_callers(inspection)])


# text features are kept from the first evaluation on


def _caching_trainers(_inspection: HostInspection) -> list[type]:
    """Return the trainers of the modules whose CLIP keeps text features between evaluations."""
    found = []
    for owner in modules_of("trainers"):
        kinds = classes_of(owner)
        if any(_cached_attributes(kind) for kind in kinds):
            found += [kind for kind in kinds if "build_model" in vars(kind)]
    return found


def _cached_attributes(kind: type) -> set[str]:
    if not issubclass(kind, nn.Module):
        return set()
    return {name for name in names_in(vars(kind).get("forward")) if name.endswith(_CACHED)}


def _forget_on_change(inspection: HostInspection) -> Undo:
    """Drop what is kept whenever the mode changes or a checkpoint is loaded."""

    def around(original: Callable) -> Callable:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            model = getattr(self.model, "module", self.model)
            for name in _cached_attributes(type(model)):
                setattr(model, name, None)
            return result

        return method

    names = ("set_model_mode", "load_model")
    return together(
        [wrap(kind, name, around) for kind in _caching_trainers(inspection) for name in names]
    )


# prompts are made from a table of the family's datasets


def _tables_without_ours(_inspection: HostInspection) -> list[dict[str, str]]:
    tables = {id(table): table for owner in modules_of("trainers") for table in _indexed(owner)}
    return [table for table in tables.values() if not PLUGIN_DATASETS.keys() <= table.keys()]


def _indexed(owner: ModuleType) -> list[dict[str, str]]:
    """Return a module's tables of prompts, under any name, of which it looks a dataset up such that
    an unknown one fails.
    """
    tables = {name: value for name, value in vars(owner).items() if _is_table(value)}
    nodes = nodes_of(owner) if tables else ()
    used = {
        node.value.id
        for node in nodes
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    }
    return [table for name, table in tables.items() if name in used]


def _is_table(value: Any) -> bool:
    """Say whether a value is a table of prompts: texts with a place for the class name."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(text, str) and "{" in text for text in value.values())
    )


def _templates_for_ours(inspection: HostInspection) -> Undo:
    undo = []
    for table in _tables_without_ours(inspection):
        added = [name for name in PLUGIN_DATASETS if name not in table]
        table.update(dict.fromkeys(added, PLAIN_TEMPLATE))
        undo.append(lambda table=table, added=added: [table.pop(name) for name in added] and None)
    return together(undo)


# few-shot subsets are pickles in the data folder


class _Records(pickle.Unpickler):
    """Reads lists of the host's own records and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Datum" and module.startswith("dassl.data.datasets"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _load_records(file: IO[bytes], **_kwargs: Any) -> Any:
    try:
        return _Records(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
        raise DataError(
            f"few-shot file {getattr(file, 'name', '')} is no list of pictures ({error}); it was"
            " not loaded, because a pickle can run code; delete it to draw the subset again"
        ) from error


def _pickling_datasets(_inspection: HostInspection) -> list[ModuleType]:
    return [owner for owner in modules_of("datasets") if vars(owner).get("pickle") is pickle]


def _read_records_only(inspection: HostInspection) -> Undo:
    proxy = ModuleProxy(pickle, load=_load_records)
    return together([replace(owner, "pickle", proxy) for owner in _pickling_datasets(inspection)])


TRAINER_SHIMS: tuple[Shim, ...] = (
    Shim(
        ShimFacts(
            "cuda",
            "MMRL, and any trainer that does so",
            "trainers/mmrl.py:116, 129; mmrlpp.py:117, 130",
            "always (without CUDA)",
            ".cuda() is called on a model or a tensor, there while the zero-shot teacher is built:"
            " RuntimeError",
        ),
        lambda inspection: not torch.cuda.is_available() and bool(_cuda_callers(inspection)),
        _stay_on_cpu,
    ),
    Shim(
        ShimFacts(
            "text-cache",
            "MMA, MMRL",
            "MMA trainers/mmadapter.py:193; MMRL trainers/mmrl.py:217",
            "always",
            "text features of the first evaluation are used for all later ones, trained further"
            " or not",
        ),
        lambda inspection: bool(_caching_trainers(inspection)),
        _forget_on_change,
    ),
    Shim(
        ShimFacts(
            "templates",
            "MMRL (and zero-shot CLIP in CoOp, MaPLe)",
            "trainers/mmrl.py:118",
            "always",
            "datasets outside its table of prompts have none: KeyError; Demo and Folder get"
            f" '{PLAIN_TEMPLATE}'",
        ),
        lambda inspection: bool(_tables_without_ours(inspection)),
        _templates_for_ours,
    ),
    Shim(
        ShimFacts(
            "fewshot",
            "all",
            "datasets/*.py, pickle.load",
            "always",
            "few-shot subsets in the data folder are unpickled, which can run code; lists of"
            " pictures are read only",
        ),
        lambda inspection: bool(_pickling_datasets(inspection)),
        _read_records_only,
    ),
)
