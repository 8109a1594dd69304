"""Statistics of the training images and expansions of text features, made once a checkpoint and
kept beside it.

Shapes: N training embeddings, C classes, H = K * D_s activations of the meta-nets, T terms, D_v
embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.inference.expansion import Directions, Expansion, principal_directions
from loreal_plugin.inference.fit_expansion import (
    MIN_SAMPLES,
    difference_quotients,
    fit,
    forward_derivatives,
    n_samples,
)
from loreal_plugin.inference.table_store import TableStore

STATISTICS, EXPANSION, PART = "statistics", "expansion", "expansion-part"
# Training embeddings kept for fits of other class sets, of them the last for checks that no fit has
# seen.
SAMPLE, CHECKS = 1024, 32
# Classes that are expanded together; a broken run goes on after the last whole part.
PART_CLASSES = 50

Encode = Callable[[Tensor, Tensor], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Statistics:
    """Activations of training images: their mean, and a sample to find directions in and to fit to.

    Attributes:
        mean: (H,) over all N embeddings.
        sample: (n, H), n at most SAMPLE, drawn with a fixed seed.
        n_embeddings: N.
    """

    mean: Tensor
    sample: Tensor
    n_embeddings: int

    @property
    def digest(self) -> str:
        """A hash of the values."""
        return digest_tensors([("mean", self.mean), ("sample", self.sample)])


def draw_statistics(hidden: Tensor) -> Statistics:
    """Return the statistics of activations (N, H)."""
    order = torch.randperm(len(hidden), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    kept = hidden.cpu().float()
    return Statistics(kept.double().mean(0).float(), kept[order], len(hidden))


def stored_statistics(
    store: TableStore, owner: Mapping[str, Any], hidden: Callable[[], Tensor]
) -> Statistics:
    """Return the statistics of a checkpoint's training images, from the store or of `hidden()` (N,
    H).

    Args:
        owner: what activations depend on.
    """
    found = store.read(STATISTICS, owner)
    if found is None:
        made = draw_statistics(hidden())
        tensors = {"mean": made.mean, "sample": made.sample}
        store.write(STATISTICS, owner, tensors, {"n_embeddings": made.n_embeddings})
        return made
    tensors, facts = found
    return Statistics(tensors["mean"], tensors["sample"], facts["n_embeddings"])


@dataclass(frozen=True)
class ExpansionPlan:
    """How an expansion is made: a choice of TANGENT_KIND, TANGENT_RANK, TANGENT_PRODUCTS."""

    kind: str
    rank: int
    products: int

    def directions(self, statistics: Statistics) -> tuple[Directions, float]:
        """Return the directions, and the share of variance in them; a small sample lowers their
        number.

        A fit must not have more unknowns than half its samples: products go first, then directions.
        """
        rank, products, sample = self.rank, 0, statistics.sample
        if self.kind == "fitted":
            most = max(1, (len(sample) - CHECKS) // 2 - 1)
            varied = principal_directions(sample, self.rank)[0].basis.shape[1]
            rank = min(varied, most)
            products = max(
                q for q in range(self.products + 1) if not q or rank + q * (q + 1) // 2 <= most
            )
        found, share = principal_directions(sample, rank, products)
        return replace(found, mean=statistics.mean), share


def make_tables(
    encode: Callable[[Tensor], Tensor],
    plan: ExpansionPlan,
    directions: Directions,
    sample: Tensor,
    forward: bool,
) -> tuple[Tensor, Tensor]:
    """Return base (C, D_v) and table (T, C, D_v) of the classes that `encode` gives.

    Args:
        sample: (n, H) activations to fit to.
        forward: whether `encode` has forward derivatives.
    """
    if plan.kind == "fitted":
        return fit(encode, directions, sample[: n_samples(directions)])
    return (forward_derivatives if forward else difference_quotients)(encode, directions)


def stored_expansion(
    store: TableStore,
    owner: Mapping[str, Any],
    plan: ExpansionPlan,
    statistics: Statistics,
    encode: Encode,
    n_classes: int,
    *,
    forward: bool = True,
    say: Say = print,
) -> tuple[Expansion, dict[str, Any]]:
    """Return an expansion (tables in 16 bit, base in 32) and its facts, from the store or made part
    by part.

    Args:
        owner: what text features depend on besides the activations.
        encode: activations (n, H), class indices (c,) -> features (n, c, D_v).
        forward: whether `encode` has forward derivatives.

    Raises:
        CheckpointError: a table cannot be written.
    """
    directions, share = plan.directions(statistics)
    ingredients = {**owner, **vars(plan), "statistics": statistics.digest}
    found = store.read(EXPANSION, ingredients)
    if found is None:
        starts = range(0, n_classes, PART_CLASSES)
        parts = []
        for start in starts:
            classes = torch.arange(start, min(n_classes, start + PART_CLASSES))
            parts.append(
                _stored_part(
                    store, ingredients, plan, directions, statistics, encode, classes, forward
                )
            )
            say(
                f"expansion of text features ({plan.kind}): {int(classes[-1]) + 1}/{n_classes}"
                " classes"
            )
        tensors = {
            "base": torch.cat([p["base"] for p in parts]),
            "table": torch.cat([p["table"] for p in parts], 1),
        }
        facts = _facts(directions, share, torch.cat([p["errors"] for p in parts], dim=1), tensors)
        store.write(EXPANSION, ingredients, tensors, facts)
        for start in starts:
            store.remove(PART, {**ingredients, "start": start})
        found = tensors, facts
    tensors, facts = found
    return Expansion(directions, tensors["base"], tensors["table"]), facts


def _stored_part(
    store: TableStore,
    ingredients: Mapping[str, Any],
    plan: ExpansionPlan,
    directions: Directions,
    statistics: Statistics,
    encode: Encode,
    classes: Tensor,
    forward: bool,
) -> dict[str, Tensor]:
    """Return base, 16-bit table and errors (checks, c) of some classes, stored or made now."""
    mine = {**ingredients, "start": int(classes[0])}
    found = store.read(PART, mine)
    if found is not None:
        return found[0]
    sample, checks = statistics.sample[:-CHECKS], statistics.sample[-CHECKS:]
    if (
        len(sample) < MIN_SAMPLES
    ):  # a handful of training pictures: the checks are of the fitted ones, too
        sample = checks = statistics.sample
    base, table = make_tables(lambda h: encode(h, classes), plan, directions, sample, forward)
    base, table = base.float().cpu(), table.half().cpu()
    exact = torch.cat([encode(part, classes) for part in checks.split(8)]).float().cpu()
    near = Expansion(directions, base, table.float())(checks)
    errors = (F.normalize(near, dim=-1) - F.normalize(exact, dim=-1)).norm(dim=-1)
    tensors = {"base": base, "table": table, "errors": errors}
    store.write(PART, mine, tensors, {})
    return tensors


def _facts(
    directions: Directions, share: float, errors: Tensor, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return what an expansion says of itself; errors are lengths between normalised features."""
    return {
        "directions": directions.basis.shape[1],
        "products": directions.n_products,
        "share_of_variance": round(share, 6),
        "mean_error": float(errors.mean()),
        "largest_error": float(errors.max()),
        "checked_images": len(errors),
        "bytes": sum(value.numel() * value.element_size() for value in tensors.values()),
    }
