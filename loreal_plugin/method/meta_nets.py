"""The meta-nets: K small bottlenecks that turn a visual embedding into K slot contents.

Shapes: B images, K attributes, D_v visual width, D_s bottleneck width, D_t text width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from loreal_plugin.errors import ConfigError, unknown_name

META_INITS = ("default", "words", "neutral")


class MetaNet(nn.Module):
    """One bottleneck ``up(relu(down(f)))`` from a visual embedding (B, D_v) to a content (B, D_t).

    Source: LOREAL, the meta-net of one attribute; ReLU and biases follow the authors' code.
    """

    def __init__(self, visual_dim: int, hidden_dim: int, text_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.down = nn.Linear(visual_dim, hidden_dim, bias=bias)
        self.up = nn.Linear(hidden_dim, text_dim, bias=bias)

    def forward(self, f: Tensor) -> Tensor:
        """Return the content (B, D_t) of the visual embeddings f (B, D_v)."""
        return self.up(torch.relu(self.down(f)))


class MetaNets(nn.Module):
    """K meta-nets run as one batched product; parameters live in ``meta_nets.<k>.{down,up}``.

    Raises:
        ConfigError: a size is not positive.
    """

    def __init__(
        self, n_attributes: int, visual_dim: int, hidden_dim: int, text_dim: int, bias: bool = True
    ) -> None:
        super().__init__()
        sizes = {
            "attributes": n_attributes,
            "visual width": visual_dim,
            "bottleneck width": hidden_dim,
            "text width": text_dim,
        }
        wrong = [f"{name} {value}" for name, value in sizes.items() if value < 1]
        if wrong:
            raise ConfigError(f"meta-nets need at least one of each, asked for {', '.join(wrong)}")
        self.meta_nets = nn.ModuleList(
            MetaNet(visual_dim, hidden_dim, text_dim, bias) for _ in range(n_attributes)
        )

    def hidden(self, f: Tensor) -> Tensor:
        """Return the bottleneck activations (B, K, D_s), after the ReLU, of f (B, D_v)."""
        # K small products of one input run as one; parameters stay one net an attribute
        weight, bias = self._stacked("down")
        # Embeddings may be half precision (fp16 hosts) while the meta-nets train in float32.
        h = torch.einsum("bv,ksv->bks", f.to(weight.dtype), weight)
        return torch.relu(h if bias is None else h + bias)

    def from_hidden(self, h: Tensor) -> Tensor:
        """Return the contents (B, K, D_t) of the bottleneck activations h (B, K, D_s)."""
        weight, bias = self._stacked("up")
        contents = torch.einsum("bks,kts->bkt", h.to(weight.dtype), weight)
        return contents if bias is None else contents + bias

    def forward(self, f: Tensor) -> Tensor:
        """Return the contents (B, K, D_t) of the visual embeddings f (B, D_v)."""
        return self.from_hidden(self.hidden(f))

    def count_parameters(self) -> int:
        """Return the number of parameters: K * (D_s * (D_v + D_t) + D_s + D_t) with biases."""
        return sum(p.numel() for p in self.parameters())

    def _stacked(self, part: str) -> tuple[Tensor, Tensor | None]:
        layers = [getattr(net, part) for net in self.meta_nets]
        weight = torch.stack([layer.weight for layer in layers])
        if layers[0].bias is None:
            return weight, None
        return weight, torch.stack([layer.bias for layer in layers])


@torch.no_grad()
def init_meta_nets_(
    nets: MetaNets, mode: str, word_embeddings: Tensor | None = None, neutral: Tensor | None = None
) -> None:
    """Set the start of the meta-nets in place.

    Args:
        nets: freshly built meta-nets; their weights already have torch's default start.
        mode: ``default`` leaves them; ``words`` sets the output bias of net k to
            ``word_embeddings[k]``; ``neutral`` sets every output bias to ``neutral`` and the output
            weights to zero, so that training starts from one content for all images and attributes.
        word_embeddings: (K, D_t) mean token embedding of each attribute's own words.
        neutral: (D_t,) the common starting content.

    Raises:
        ConfigError: unknown mode, no output bias to set, or the vectors the mode needs are missing
            or of another shape.
    """
    if mode not in META_INITS:
        raise ConfigError(unknown_name("META_INIT", mode, META_INITS))
    if mode == "default":
        return
    ups = [cast(MetaNet, net).up for net in nets.meta_nets]
    if ups[0].bias is None:
        raise ConfigError(
            f"META_INIT '{mode}' sets the output bias, but META_BIAS is False; set it to True"
        )
    shape = (len(ups), ups[0].out_features)
    start = word_embeddings if mode == "words" else neutral
    if start is None:
        raise ConfigError(f"META_INIT '{mode}' needs starting vectors of shape {shape}, got none")
    if start.dim() == 1:
        start = start.expand(shape[0], -1)
    if tuple(start.shape) != shape:
        raise ConfigError(
            f"META_INIT '{mode}' needs vectors of shape {shape}, got {tuple(start.shape)}"
        )
    for up, vector in zip(ups, start, strict=True):
        up.bias.copy_(vector)
        if mode == "neutral":
            up.weight.zero_()
