"""Statistics of training images and expansions of text features, kept beside the checkpoint.

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
from loreal_plugin.plain_output import Say

STATISTICS, EXPANSION, PART = "statistics", "expansion", "expansion-part"
# Training embeddings kept for fits of other class sets; the last CHECKS of them test a fit.
SAMPLE, CHECKS = 1024, 32
# Classes that are expanded together; a broken run goes on after the last whole part.
PART_CLASSES = 50

Encode = Callable[[Tensor, Tensor], Tensor]


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
    values = hidden.cpu().float()
    return Statistics(values.double().mean(0).float(), values[order], len(hidden))


def stored_statistics(
    store: TableStore, owner: Mapping[str, Any], hidden: Callable[[], Tensor]
) -> Statistics:
    """Return the statistics of a checkpoint's training images, stored or made now.

    Args:
        owner: what activations depend on.
        hidden: returns the activations (N, H); called where nothing is stored.
    """
    found = store.read(STATISTICS, owner)
    if found is None:
        drawn = draw_statistics(hidden())
        tensors = {"mean": drawn.mean, "sample": drawn.sample}
        store.write(STATISTICS, owner, tensors, {"n_embeddings": drawn.n_embeddings})
        return drawn
    tensors, facts = found
    return Statistics(tensors["mean"], tensors["sample"], facts["n_embeddings"])


@dataclass(frozen=True)
class ExpansionPlan:
    """How an expansion is made: a choice of TANGENT_KIND, TANGENT_RANK, TANGENT_PRODUCTS."""

    kind: str
    rank: int
    products: int

    def directions(self, statistics: Statistics) -> tuple[Directions, float]:
        """Return the directions, and their share of the variance; a small sample allows fewer.

        A fit must not have more unknowns than half its samples: products are left out first, then
        directions.
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
    """Return an expansion (tables in 16 bit, base in 32) and its facts, stored or made in parts.

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
            part = _stored_part(
                store, ingredients, plan, directions, statistics, encode, classes, forward
            )
            parts.append(part)
            done = f"{int(classes[-1]) + 1}/{n_classes} classes"
            say(f"expansion of text features ({plan.kind}): {done}")
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
    of_part = {**ingredients, "start": int(classes[0])}
    found = store.read(PART, of_part)
    if found is not None:
        return found[0]
    sample, checks = statistics.sample[:-CHECKS], statistics.sample[-CHECKS:]
    if len(sample) < MIN_SAMPLES:  # so few training pictures: all are fitted and checked
        sample = checks = statistics.sample
    base, table = make_tables(lambda h: encode(h, classes), plan, directions, sample, forward)
    base, table = base.float().cpu(), table.half().cpu()
    exact = torch.cat([encode(part, classes) for part in checks.split(8)]).float().cpu()
    expanded = Expansion(directions, base, table.float())(checks)
    errors = (F.normalize(expanded, dim=-1) - F.normalize(exact, dim=-1)).norm(dim=-1)
    tensors = {"base": base, "table": table, "errors": errors}
    store.write(PART, of_part, tensors, {})
    return tensors


def _facts(
    directions: Directions, share: float, errors: Tensor, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return facts about an expansion; errors are distances between normalised features."""
    return {
        "directions": directions.basis.shape[1],
        "products": directions.n_products,
        "share_of_variance": round(share, 6),
        "mean_error": float(errors.mean()),
        "largest_error": float(errors.max()),
        "checked_images": len(errors),
        "bytes": sum(value.numel() * value.element_size() for value in tensors.values()),
    }
