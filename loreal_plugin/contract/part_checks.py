"""What a contract row is, and how an attribute is looked for on what a host built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from loreal_plugin.errors import HostError

_MISSING = object()


@dataclass(frozen=True)
class ContractRow:
    """One question to a host: the role a part plays, the attribute looked for, what was found."""

    role: str
    wanted: str
    found: str
    ok: bool


def attribute_row(role: str, root: object, path: str, kind: type | None = None) -> ContractRow:
    """Look for the dotted `path` below `root` (a number takes an item), and for its type if one is
    given.
    """
    value, at = root, ""
    for name in path.split("."):
        parent, parent_at = value, at
        value, at = _step(parent, name), f"{at}.{name}" if at else name
        if value is _MISSING:
            owner = parent_at or type(root).__name__
            return ContractRow(
                role, path, f"no '{name}' on {owner} (it has: {_names(parent)})", False
            )
    if kind is not None and not isinstance(value, kind):
        return ContractRow(role, path, f"a {type(value).__name__}, not a {kind.__name__}", False)
    return ContractRow(role, path, type(value).__name__, True)


def raise_for(rows: Iterable[ContractRow], what: str, advice: str) -> None:
    """Raise one error that lists every row that does not hold.

    Raises:
        HostError: at least one row does not hold.
    """
    wrong = [
        f"{row.role}: looked for {row.wanted}, found {row.found}" for row in rows if not row.ok
    ]
    if wrong:
        raise HostError(f"{what} does not answer the host contract: {'; '.join(wrong)}; {advice}")


def _step(parent: object, name: str) -> object:
    """Return the attribute or the numbered item `name`, or the marker for a missing one."""
    if name.isdigit():
        items = list(parent) if isinstance(parent, Iterable) else []
        return items[int(name)] if int(name) < len(items) else _MISSING
    return getattr(parent, name, _MISSING)


def _names(parent: object) -> str:
    """Return the public names a user would recognise: submodules, parameters and plain data."""
    if isinstance(parent, nn.Module):
        found = [name for name, _ in parent.named_children()]
        found += [name for name, _ in parent.named_parameters(recurse=False)]
        found += [
            name for name, value in vars(parent).items() if isinstance(value, (Tensor, int, float))
        ]
    else:
        found = list(vars(parent)) if hasattr(parent, "__dict__") else []
    public = sorted({name for name in found if not name.startswith("_") and name != "training"})
    return ", ".join(public[:12]) or "nothing"
