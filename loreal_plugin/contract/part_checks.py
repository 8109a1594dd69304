"""What is looked for on a host, and what was found: one check a part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loreal_plugin.errors import HostError

_MISSING = object()

# What every row uses of a host's model: role -> (dotted path below trainer.model, type).
COMMON_PARTS: dict[str, tuple[str, type | None]] = {
    "prompt tokens": ("tokenized_prompts", Tensor),
    "image encoder": ("image_encoder", nn.Module),
    "image positional embedding": ("image_encoder.positional_embedding", Tensor),
    "patch embedding": ("image_encoder.conv1", nn.Conv2d),
    "text encoder": ("text_encoder", nn.Module),
    "text positional embedding": ("text_encoder.positional_embedding", Tensor),
    "text blocks": ("text_encoder.transformer.resblocks", nn.Module),
    "text attention": ("text_encoder.transformer.resblocks.0.attn", nn.MultiheadAttention),
    "norm before text attention": ("text_encoder.transformer.resblocks.0.ln_1", nn.Module),
    "norm before text MLP": ("text_encoder.transformer.resblocks.0.ln_2", nn.Module),
    "text MLP": ("text_encoder.transformer.resblocks.0.mlp", nn.Module),
    "last text norm": ("text_encoder.ln_final", nn.Module),
    "text projection": ("text_encoder.text_projection", Tensor),
    "dtype": ("dtype", torch.dtype),
    "text dtype": ("text_encoder.dtype", torch.dtype),
}


@dataclass(frozen=True)
class PartCheck:
    """One question to a host: the role a part plays, the attribute looked for, what was found."""

    role: str
    wanted: str
    found: str
    ok: bool


def attribute_check(role: str, root: object, path: str, kind: type | None = None) -> PartCheck:
    """Return what is found at the dotted `path` below `root`; a number takes an item.

    Args:
        kind: the type that is wanted; None: any.
    """
    value, reached = root, ""
    for name in path.split("."):
        parent, parent_path = value, reached
        value, reached = _step(parent, name), f"{reached}.{name}" if reached else name
        if value is _MISSING:
            owner = parent_path or type(root).__name__
            return PartCheck(
                role, path, f"no '{name}' on {owner} (it has: {_names(parent)})", False
            )
    if kind is not None and not isinstance(value, kind):
        return PartCheck(role, path, f"a {type(value).__name__}, not a {kind.__name__}", False)
    return PartCheck(role, path, type(value).__name__, True)


def raise_for_missing(checks: Iterable[PartCheck], what: str, advice: str) -> None:
    """Raise one error that lists every check that does not hold.

    Raises:
        HostError: at least one check does not hold.
    """
    wrong = [
        f"{check.role}: looked for {check.wanted}, found {check.found}"
        for check in checks
        if not check.ok
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
