"""Class names and few-shot training pictures of a dataset, through a host's own dataset code."""

from __future__ import annotations

from typing import Any

from loreal_plugin.attach import attach_host
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.plan import build_plan
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.weights import clip_sizes

# Class names do not depend on the weights; these are always there.
_ANY_WEIGHTS = "demo"


def open_dataset(
    name: str,
    *,
    data: str | None = None,
    subset: str = "all",
    shots: int = 16,
    seed: int = 1,
    weights: str = _ANY_WEIGHTS,
    phi: int | None = None,
) -> Any:
    """Return a host's dataset: `train_x` are the few-shot training pictures, `classnames` its names
    by label.

    Args:
        name: of `configs/datasets/`, or a folder of `data`.
        data: folder that holds the datasets; None = DATA.
        subset: `all`, `base` or `new` classes.
        phi: checked against the patch size of `weights`; None = their native size.

    Raises:
        LorealError: no such dataset, no such weights, a phi that does not fit.
    """
    facts = clip_sizes(weights)
    size = facts["resolution"] if phi is None else phi
    spec = build_spec(
        PLAIN_METHOD,
        str(size),
        name,
        str(seed),
        data=data,
        shots=str(shots),
        weights=weights,
        host="",
    )
    plan = build_plan(spec, native_size=facts["resolution"], patch_size=facts["patch"])
    engine = Engine(attach_host(spec.host, spec.method), plan, "")
    return quietly(lambda: engine.identity.dataset(subset))


def dataset_classnames(name: str, data: str | None = None) -> list[str]:
    """Return the class names of a dataset under DATA, by label, each once."""
    dataset = open_dataset(name, data=data)
    return list(dict.fromkeys(str(c) for c in dataset.classnames))
