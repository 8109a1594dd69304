"""How far embeddings move when pictures get small, and a map of them in the plane.

Shapes: N pictures, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import DataError
from loreal_plugin.explain.runs import OpenRun
from loreal_plugin.explain.sample import BATCH, pixels_of

PERPLEXITY = 30.0


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the same N pictures.

    Attributes:
        native: (N, D_v), unit length, of the host trained and tested at the native size.
        low: by what embedded them at phi, (N, D_v) each.
        labels: (N,) index of the class.
    """

    native: Tensor
    low: dict[str, Tensor]
    labels: Tensor


@torch.no_grad()
def embed_pictures(run: OpenRun, items: Sequence[Any], say: Callable[[str], None]) -> Embedded:
    """Return the embeddings that meta-nets read, at the native size and, by each encoder, at phi.

    Raises:
        DataError: a picture is missing or broken.
    """
    model, host = run.model, run.host_trainer
    alpha, beta = run.alpha, run.beta
    encoders: dict[str, Callable[[Tensor], Tensor]] = {
        f"{host} trained at {run.native_size}": run.alpha_at_phi.encode_image,
        run.host_at_phi.replace(",", ""): beta.encode_image,
    }
    if model.correction is not None:
        encoders[f"{run.host_at_phi.replace(',', '')}, corrected (DRIFT)"] = model.embed
    native: list[Tensor] = []
    low: dict[str, list[Tensor]] = {name: [] for name in encoders}
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        native.append(alpha.condition(alpha.encode_image(pixels_of(run, part, run.native_size))))
        pixels = pixels_of(run, part, run.phi)
        for name, encode in encoders.items():
            low[name].append(beta.condition(encode(pixels)))
        if start and start % (10 * BATCH) == 0:
            say(f"  {start} of {len(items)} pictures embedded")
    joined = {name: torch.cat(parts).float().cpu() for name, parts in low.items()}
    labels = torch.tensor([item.label for item in items])
    return Embedded(torch.cat(native).float().cpu(), joined, labels)


def drift_numbers(native: Tensor, low: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how far embeddings (N, D_v) at phi are from those of the same pictures at native size.

    - `cosine_mean`, `cosine_std`: of the two embeddings of a picture;
    - `drift_norm`: length of the mean change of all pictures;
    - `change_norm`: mean length of a picture's change;
    - `common_share`: part of the squared change that is the same for all pictures, 1 for a pure
      shift;
    - `finds_itself`, `finds_class`: how often the nearest native embedding is the picture's own, or
      of its class.
    """
    change = low - native
    cosine = torch.cosine_similarity(low, native, dim=-1)
    nearest = torch.cdist(low, native).argmin(dim=1)
    squared = float(change.square().sum(-1).mean())
    drift = float(change.mean(0).norm())
    return {
        "n": len(native),
        "cosine_mean": float(cosine.mean()),
        "cosine_std": float(cosine.std(correction=0)),
        "drift_norm": drift,
        "change_norm": float(change.norm(dim=-1).mean()),
        "common_share": drift**2 / squared if squared > 0 else 0.0,
        "finds_itself": float((nearest == torch.arange(len(native))).float().mean()),
        "finds_class": float((labels[nearest] == labels).float().mean()),
    }


def in_the_plane(embedded: Embedded, kind: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return places (N, 2) of the native embeddings and, by name, of those at phi, all on one map.

    Args:
        kind: `pca` or `tsne`.

    Raises:
        DataError: fewer than three pictures.
    """
    if len(embedded.native) < 3:
        raise DataError(
            f"a map needs at least three pictures, there are {len(embedded.native)}; raise --count"
        )
    everything = torch.cat([embedded.native, *embedded.low.values()]).numpy()
    if kind == "pca":
        from sklearn.decomposition import PCA

        flat = PCA(2, svd_solver="full").fit_transform(everything)
    else:
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(everything) - 1) / 3)
        flat = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(everything)
    parts = torch.tensor(flat).split(len(embedded.native))
    return parts[0], dict(zip(embedded.low, parts[1:], strict=True))
