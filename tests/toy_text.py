"""A small causal text transformer in CLIP's layout, with the four hosts' ways of changing rows.

Everything here is the slow, obvious version: full prompts, nn.MultiheadAttention, one mask. B
images, C classes, K attributes, L context length, D text width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loreal_plugin.method.slots import SLOT_ORDERS, SplicedPrompts, splice_slots
from loreal_plugin.text import TextBlocks

SOS, EOT, PERIOD, WITH, CTX = 46, 47, 5, 6, (1, 2, 3)
HOSTS = ("identity", "replace", "insert", "branch")
# Class names of one, three and two tokens; attribute words of one, two and one.
NAMES = ([10], [11, 12, 13], [14, 15])
ATTRIBUTES = [[20], [21, 22], [23]]


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Norm(nn.LayerNorm):
    """CLIP's: computed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = Norm(width), Norm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU())]
        self.mlp = nn.Sequential(OrderedDict([*parts, ("c_proj", nn.Linear(4 * width, width))]))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1).to(x)
        h = self.ln_1(x).transpose(0, 1)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0].transpose(0, 1)
        return x + self.mlp(self.ln_2(x))


@dataclass
class ToyText:
    """A frozen text encoder of one host kind: token table, blocks, and the naive ``encode``."""

    kind: str
    table: Tensor
    positions: Tensor
    layers: nn.ModuleList
    norm: Norm
    projection: Tensor
    deep: Tensor
    adapters: nn.ModuleList

    def embed(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def finish(self, x: Tensor) -> Tensor:
        return self.norm(x) @ self.projection

    def enter(self, i: int, x: Tensor) -> Tensor:
        deep = self.deep.to(x.dtype)[i].expand(len(x), -1, -1)
        if self.kind == "replace" and i > 0:
            return torch.cat([x[:, :1], deep, x[:, 3:]], dim=1)
        if self.kind == "insert" and i == 1:
            return torch.cat([x[:, :1], deep, x[:, 1:]], dim=1)
        if self.kind == "insert" and i > 1:
            return torch.cat([x[:, :1], deep, x[:, 3:]], dim=1)
        return x

    def enter_class(self, i: int, x: Tensor, classes: Tensor) -> Tensor:
        """Before block 1, insert two rows that each class has of its own."""
        if i != 1:
            return x
        own = self.deep.to(x.dtype)[i] * (1 + classes[:, None, None].to(x.dtype))
        return torch.cat([x[:, :1], own, x[:, 1:]], dim=1)

    def branch(self, i: int, x: Tensor) -> Tensor | None:
        return self.adapters[i](x) if self.kind == "branch" and i > 0 else None

    def encode(self, embeddings: Tensor, tokens: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return features (N, D_v); with `classes` (N,), each class has rows of its own."""
        x = embeddings + self.positions
        for i, layer in enumerate(self.layers):
            x = self.enter(i, x) if classes is None else self.enter_class(i, x, classes)
            added = self.branch(i, x)
            x = layer(x) if added is None else layer(x) + added
        read = tokens.argmax(-1) + x.shape[1] - embeddings.shape[1]
        return self.finish(x[torch.arange(len(x)), read])

    def blocks(self) -> TextBlocks:
        return TextBlocks(
            positional_embedding=self.positions,
            layers=list(self.layers),
            final_norm=self.norm,
            projection=self.projection,
            enter=self.enter,
            branch=self.branch,
            min_static_rows=3 if self.kind == "replace" else 1,
        )


def make_text(
    kind: str = "identity",
    width: int = 32,
    layers: int = 3,
    length: int = 24,
    dtype: torch.dtype = torch.float32,
) -> ToyText:
    """Return a random frozen text encoder; two heads, projection to 16."""
    torch.manual_seed(0)
    # drawn in float32 and rounded then: PyTorch 2.5 draws other numbers in half precision
    text = ToyText(
        kind=kind,
        table=torch.randn(48, width).to(dtype),
        positions=0.3 * torch.randn(length, width).to(dtype),
        layers=nn.ModuleList(Block(width, 2) for _ in range(layers)),
        norm=Norm(width),
        projection=torch.randn(width, 16).to(dtype) / width**0.5,
        deep=torch.randn(layers, 2, width).to(dtype),
        adapters=nn.ModuleList(
            nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width))
            for _ in range(layers)
        ),
    )
    for layer in text.layers:
        # torch starts these at zero, which would hide a forgotten bias.
        nn.init.normal_(layer.attn.in_proj_bias, std=0.5)
        nn.init.normal_(layer.attn.out_proj.bias, std=0.5)
    text.adapters.to(dtype), text.layers.to(dtype)
    for layer in text.layers:
        layer.ln_1.float(), layer.ln_2.float()
    for part in (text.layers, text.norm, text.adapters):
        part.requires_grad_(False)
    return text


def make_prompts(
    text: ToyText,
    order: str = "class_first",
    names: tuple[list[int], ...] = NAMES,
    change: Callable[[Tensor, Tensor], None] | None = None,
    **options: object,
) -> SplicedPrompts:
    """Return the prompts ``ctx CLS.`` of classes with slots; ``change`` edits both tensors."""
    length = len(text.positions)
    tokens = torch.zeros(len(names), length, dtype=torch.long)
    for c, name in enumerate(names):
        ids = [SOS, *CTX, *name, PERIOD, EOT]
        tokens[c, : len(ids)] = torch.tensor(ids)
    embeddings = text.embed(tokens).clone()
    if change is not None:
        change(embeddings, tokens)
    return splice_slots(
        embeddings,
        tokens,
        **{
            "attribute_tokens": [ATTRIBUTES] * len(names),
            "embed": text.embed,
            "n_content": 2,
            "order": order,
            "class_start": torch.full((len(names),), 1 + len(CTX)),
            "with_token": WITH,
            "period_token": PERIOD,
            "classnames": [f"class{c}" for c in range(len(names))],
            **options,
        },
    )


# MaPLe's kind overwrites rows 1..2, where slots_first has its slots.
CASES = [
    (h, order) for h in HOSTS for order in SLOT_ORDERS if (h, order) != ("replace", "slots_first")
]


def contents_for(text: ToyText, n_images: int = 2, k: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(n_images, k, text.table.shape[1], generator=generator)
    return values.to(text.table.dtype).requires_grad_()
