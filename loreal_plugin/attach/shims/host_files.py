"""Files of a checkout that its trainers open by a path relative to the checkout."""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from loreal_plugin.attach.compat import Shim, ShimFacts, Undo
from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims.common import modules_of, nodes_of, together


def _openers(_inspection: HostInspection) -> list[ModuleType]:
    """Return the trainers' modules that call the built-in `open`."""
    return [
        owner
        for owner in modules_of("trainers")
        if "open" not in vars(owner)
        and any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "open"
            for node in nodes_of(owner)
        )
    ]


def _opening_below(root: Path) -> Callable[..., Any]:
    """Return an `open` that looks for a relative file to be read below `root`, too: after the
    working folder. Nothing is written there.
    """

    def look(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and not set(mode) & set("wax+"):
            path = Path(file)
            if not path.is_absolute() and not path.exists() and (root / path).is_file():
                file = root / path
        return builtins.open(file, mode, *args, **kwargs)

    return look


def _open_in_checkout(inspection: HostInspection) -> Undo:
    undo: list[Undo] = []
    for owner in _openers(inspection):
        vars(owner)["open"] = _opening_below(inspection.path)
        undo.append(lambda owner=owner: vars(owner).pop("open") and None)
    return together(undo)


FILE_SHIMS: tuple[Shim, ...] = (
    Shim(
        ShimFacts(
            "host-files",
            "CoPrompt, and any trainer that does so",
            "trainers/coprompt.py:431",
            "always",
            "files of the checkout are opened by a relative path: FileNotFoundError from any other"
            " working folder",
        ),
        lambda inspection: bool(_openers(inspection)),
        _open_in_checkout,
    ),
)
