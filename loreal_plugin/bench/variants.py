"""The variants of a cell as calls without arguments; see `cells` for their names.

Shapes: B images, C classes, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.bench.models import Workshop, published_module
from loreal_plugin.bench.modes import ready

Call = Callable[[], object]
PUBLISHED, PUBLISHED_ORDER = "published", "class_first"  # it costs the same in both slot orders


def build_variant(shop: Workshop, name: str) -> Call:
    """Return a variant of the cell's kind, ready to be called any number of times."""
    if name.startswith("phi"):
        return _encode_at(shop, int(name.removeprefix("phi")))
    if shop.cell.trains:
        return _training_step(shop, name)
    return _prediction(shop, name)


def _training_step(shop: Workshop, name: str) -> Call:
    """Return a whole step: forward, backward, update."""
    if name == "host":
        trainer, batch = shop.trainer, {"img": shop.pictures["beta"], "label": shop.labels}
        return lambda: trainer.forward_backward(batch)
    if name == PUBLISHED:
        return _updated(shop, published_loss(shop, PUBLISHED_ORDER))
    how, _, order = name.partition(":")
    return _updated(shop, fast_loss(shop, order, cached=how == "cached"))


def _updated(shop: Workshop, loss: Callable[[], Tensor]) -> Call:
    """Return a step of stage 3's optimiser on a loss; the step gives the loss and its gradient
    (N,).

    At rate 0, which costs the same, the meta-nets stay as they are: steps of different variants can
    be compared.
    """
    nets = list(shop.nets.parameters())
    optimizer = torch.optim.SGD(nets, lr=0.0, momentum=0.9, weight_decay=5e-4)

    def step() -> tuple[float, Tensor]:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item(), torch.cat([p.grad.flatten() for p in nets])

    return step


def fast_loss(shop: Workshop, order: str, *, cached: bool) -> Callable[[], Tensor]:
    """Return our stage-3 loss, from kept embeddings or with both image encoders."""
    model, students, kept = (
        shop.model(order),
        {"alpha": shop.alpha, "beta": shop.beta},
        shop.features,
    )
    amp = shop.cell.precision == "amp" and shop.device.type == "cuda"

    def loss() -> Tensor:
        seen = (
            kept
            if cached
            else {name: s.encode_image(shop.pictures[name]) for name, s in students.items()}
        )
        with torch.autocast(shop.device.type, enabled=amp):
            return model.losses(seen["alpha"], seen["beta"], shop.labels, 0.5)[0]["loss"]

    return loss


def published_loss(shop: Workshop, order: str) -> Callable[[], Tensor]:
    """Return the same loss as the published formulation computes it."""
    plain = _published(shop, order, {"alpha": shop.alpha, "beta": shop.beta})
    return lambda: plain.loss(shop.pictures["alpha"], shop.pictures["beta"], shop.labels)


def _published(shop: Workshop, order: str, students: dict[str, Any]) -> Any:
    made = published_module().PublishedFormulation
    return made(students, shop.nets, shop.words, shop.options(order), fusion=shop.fusion)


def _prediction(shop: Workshop, name: str) -> Call:
    """Return the logits of a batch of pictures at phi."""
    pictures = shop.pictures["beta"]
    if name == "host":
        return _host_prediction(shop, pictures)
    if name == PUBLISHED:
        predict = published_logits(shop, PUBLISHED_ORDER)
        return lambda: predict(pictures)
    mode, _, order = name.partition(":")
    predict = ready(shop, mode, order)
    return lambda: predict(pictures)


def published_logits(shop: Workshop, order: str) -> Callable[[Tensor], Tensor]:
    """Return the published formulation's prediction, pictures -> logits (B, C)."""
    return _published(shop, order, {"beta": shop.beta}).predict


def _host_prediction(shop: Workshop, pictures: Tensor) -> Call:
    """Return the host's own prediction: its image encoder, and text features (C, D_v) from before."""
    student = shop.beta
    prompts = student.prompts()
    with torch.no_grad():
        text = student.encode_text(prompts.embeddings, prompts.tokens)
    return torch.no_grad()(
        lambda: student.logits(student.encode_image(pictures), text, shop.fusion)
    )


def _encode_at(shop: Workshop, phi: int) -> Call:
    """Return the host's image encoder at phi pixels."""
    student = shop.student_at(phi)
    pictures = shop.random_pictures(phi)
    return lambda: student.encode_image(pictures)
