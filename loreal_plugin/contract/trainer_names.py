"""Names of trainers: which a folder registers, which have a row, and the error for all others.

Found by parsing, so that a wrong name is told without torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from loreal_plugin.contract.questions import trainer_without_row
from loreal_plugin.contract.registry import CONTRACTS, rows_from_outside
from loreal_plugin.errors import unknown_name
from loreal_plugin.paths import bundle_root


def trainers_of(path: Path) -> dict[str, str]:
    """Return the trainers that a host folder registers, each with its file."""
    return {node.name: file for node, file in _registered(path)}


def _registered(path: Path) -> Iterator[tuple[ast.ClassDef, str]]:
    """Yield the classes of trainers that a folder registers, each with its file."""
    for file in sorted((path / "trainers").glob("*.py")):
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and any(
                "TRAINER_REGISTRY" in ast.dump(d) for d in node.decorator_list
            ):
                yield node, f"trainers/{file.name}"


def trainers_with_rows() -> dict[str, str]:
    """Return the trainers that rows name, the hosts' and ours, each with its method."""
    return {
        name: method for method, c in CONTRACTS.items() for name in (c.trainer, c.loreal_trainer)
    }


def surely_unknown(trainer: str, host: Path) -> str:
    """Return the text of the error for a trainer that neither the host nor any row has, else "".

    No row is imported for it; so where rows come from outside, it does not say.
    """
    if rows_from_outside():
        return ""
    # each of our trainers is named after the host's, which is its last base
    known = {
        name
        for node, _ in _registered(bundle_root())
        for name in (
            node.name,
            *(base.id for base in node.bases[-1:] if isinstance(base, ast.Name)),
        )
    }
    there = trainers_of(host)
    if trainer in known or trainer.removesuffix("_LOREAL") in there:
        return ""
    return unknown_name("trainer", trainer, known)


def unknown_trainer(kind: str, name: str, known: Iterable[str], host: Path) -> str:
    """Return the text of the error for a method or trainer that no contract has.

    Where the host does define such a trainer, the text names the questions that a row for it has to
    answer.

    Args:
        kind: what `name` is: "method" or "trainer".
        known: names of that kind.
    """
    wanted = name.removesuffix("_LOREAL").lower()
    for trainer, file in trainers_of(host).items():
        names = {trainer.lower(), *({Path(file).stem.lower()} if kind == "method" else ())}
        # rows are imported for a name that the host has, not for a misspelt one
        if wanted in names and trainer not in trainers_with_rows():
            return trainer_without_row(trainer, file, list(CONTRACTS))
    return unknown_name(kind, name, known)
