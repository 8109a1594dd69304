"""Text features as a short series in the bottleneck activations, so that no text encoder runs.

The features of a class move smoothly, and little, with the K * D_s activations of the meta-nets. An
`Expansion` keeps for every class the feature at the training mean, and how it changes along the
directions in which training images differ most, and along products of a few of these. An image then
costs one small matrix product.

Shapes: B images, C classes, N training embeddings, H = K * D_s activations, R directions, Q of them
in products, T = R + Q (Q + 1) / 2 terms, D_v joint embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError

# Least spread of a direction, as a share of the largest: smaller ones would be scaled up to noise.
_SMALLEST_SPREAD = 1e-3
# Elements of the features that one product makes: few enough to stay in the processor's cache.
_PRODUCT_ELEMENTS = 2**18


@dataclass(frozen=True)
class Directions:
    """Where images lie among the training images, in units of these images' own spread.

    Attributes:
        mean: (H,) activations of the mean training image.
        basis: (H, R) orthonormal directions, the most varied first.
        spread: (R,) standard deviation along each.
        n_products: Q, how many leading directions are multiplied with each other; 0 = none.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor
    n_products: int = 0

    @property
    def n_terms(self) -> int:
        """T."""
        return self.basis.shape[1] + self.n_products * (self.n_products + 1) // 2

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the terms (B, T) of activations (B, H), float32."""
        z = ((hidden.float() - self.mean) @ self.basis) / self.spread
        if not self.n_products:
            return z
        i, j = torch.triu_indices(self.n_products, self.n_products, device=z.device)
        # Centred, so that the mean image stays near the origin of every term.
        return torch.cat([z, z[:, i] * z[:, j] - (i == j).to(z.dtype)], dim=1)

    def to(self, device: torch.device | str) -> Directions:
        """Return the same directions on a device."""
        mean, basis, spread = self.mean.to(device), self.basis.to(device), self.spread.to(device)
        return Directions(mean, basis, spread, self.n_products)


def principal_directions(
    hidden: Tensor, rank: int, n_products: int = 0
) -> tuple[Directions, float]:
    """Return the principal directions of activations (N, H), and their share of the variance.

    Args:
        hidden: training activations.
        rank: R; 0 = all H, also those along which nothing varies.
        n_products: Q, at most R.

    Raises:
        ConfigError: fewer than two embeddings.
    """
    if len(hidden) < 2:
        raise ConfigError(
            f"an expansion needs the spread of training images, got {len(hidden)} embedding(s)"
        )
    values = hidden.double()
    mean = values.mean(0)
    centred = values - mean
    variance, vectors = torch.linalg.eigh(centred.T @ centred / len(values))
    # eigh sorts upwards; the most varied direction comes first here
    variance, vectors = variance.flip(0).clamp(min=0), vectors.flip(1)
    varied = int((variance > variance[0] * 1e-10).sum()) if variance[0] > 0 else 1
    n_kept = min(rank, varied) if rank else len(variance)
    total = float(variance.sum())
    share = float(variance[:n_kept].sum()) / total if total > 0 else 1.0
    spread = variance[:n_kept].sqrt()
    spread = spread.clamp(min=float(spread[0]) * _SMALLEST_SPREAD if total > 0 else 1.0)
    basis = vectors[:, :n_kept].float().contiguous()
    return Directions(mean.float(), basis, spread.float(), min(n_products, n_kept)), share


@dataclass(frozen=True)
class Expansion:
    """Features of C classes as `base + sum over terms`.

    Attributes:
        directions: what the terms of an image are.
        base: (C, D_v) the constant part.
        table: (T, C, D_v) what one unit of each term adds.
    """

    directions: Directions
    base: Tensor
    table: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return text features (B, C, D_v), not normalised, of activations (B, H)."""
        return self.features(self.directions(hidden), slice(None))

    def features(self, terms: Tensor, classes: slice) -> Tensor:
        """Return the features (B, C', D_v) of some classes for the terms (B, T) of images."""
        base, table = self.base[classes], self.table[:, classes]
        flat = torch.addmm(base.flatten()[None], terms.to(table.dtype), table.flatten(1))
        return flat.unflatten(1, base.shape)

    def chunks(self, n_images: int) -> list[slice]:
        """Return the classes in parts whose features of n_images images stay small."""
        step = max(1, _PRODUCT_ELEMENTS // max(1, n_images * self.base.shape[1]))
        return [slice(at, at + step) for at in range(0, len(self.base), step)]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Expansion:
        """Return the same expansion on a device, with features of a type."""
        return Expansion(
            self.directions.to(device), self.base.to(device, dtype), self.table.to(device, dtype)
        )

    @property
    def n_bytes(self) -> int:
        """Memory that the expansion holds."""
        d = self.directions
        parts = (self.base, self.table, d.mean, d.basis, d.spread)
        return sum(part.numel() * part.element_size() for part in parts)
