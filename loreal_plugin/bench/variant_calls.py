"""The variants of a cell as calls without arguments; `bench.cells` explains their names.

Shapes: B images, C classes, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.bench.models import CellModels, published_module
from loreal_plugin.bench.predictions import build_prediction
from loreal_plugin.students.student import Student

Call = Callable[[], object]
PUBLISHED, PUBLISHED_ORDER = "published", "class_first"  # it costs the same in both slot orders


def build_variant(models: CellModels, name: str) -> Call:
    """Return a variant of the cell's kind, ready to be called any number of times."""
    if name.startswith("phi"):
        return _encode_at(models, int(name.removeprefix("phi")))
    if models.cell.trains:
        return _training_step(models, name)
    return _prediction(models, name)


def _training_step(models: CellModels, name: str) -> Call:
    """Return a whole step: forward, backward, update."""
    if name == "host":
        trainer, batch = models.trainer, {"img": models.pictures["beta"], "label": models.labels}
        return lambda: trainer.forward_backward(batch)
    if name == PUBLISHED:
        return _updated(models, published_loss(models, PUBLISHED_ORDER))
    how, _, order = name.partition(":")
    return _updated(models, plugin_loss(models, order, cached=how == "cached"))


def _updated(models: CellModels, loss: Callable[[], Tensor]) -> Call:
    """Return a step of stage 3's optimiser; the step gives the loss and its gradient (N,).

    The rate is 0, which costs the same. So the meta-nets stay as they are, and the steps of
    different variants can be compared.
    """
    nets = list(models.nets.parameters())
    optimizer = torch.optim.SGD(nets, lr=0.0, momentum=0.9, weight_decay=5e-4)

    def step() -> tuple[float, Tensor]:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item(), torch.cat([p.grad.flatten() for p in nets])

    return step


def plugin_loss(models: CellModels, order: str, *, cached: bool) -> Callable[[], Tensor]:
    """Return our stage-3 loss, from cached embeddings or with both image encoders."""
    model, features = models.model(order), models.features
    students = {"alpha": models.alpha, "beta": models.beta}
    amp = models.cell.precision == "amp" and models.device.type == "cuda"

    def loss() -> Tensor:
        found = features
        if not cached:
            found = {name: s.encode_image(models.pictures[name]) for name, s in students.items()}
        with torch.autocast(models.device.type, enabled=amp):
            return model.losses(found["alpha"], found["beta"], models.labels, 0.5)[0]["loss"]

    return loss


def published_loss(models: CellModels, order: str) -> Callable[[], Tensor]:
    """Return the same loss as the published formulation computes it."""
    formulation = _published(models, order, {"alpha": models.alpha, "beta": models.beta})
    pictures = models.pictures
    return lambda: formulation.loss(pictures["alpha"], pictures["beta"], models.labels)


def _published(models: CellModels, order: str, students: dict[str, Any]) -> Any:
    formulation = published_module().PublishedFormulation
    return formulation(
        students, models.nets, models.words, models.options(order), fusion=models.fusion
    )


def _prediction(models: CellModels, name: str) -> Call:
    """Return the logits of a batch of pictures at phi."""
    pictures = models.pictures["beta"]
    if name in ("host", "adapted"):
        student = models.adapted if name == "adapted" else models.beta
        return _host_prediction(models, student, pictures)
    if name == PUBLISHED:
        predict = published_logits(models, PUBLISHED_ORDER)
        return lambda: predict(pictures)
    mode, _, order = name.partition(":")
    predict = build_prediction(models, mode, order)
    return lambda: predict(pictures)


def published_logits(models: CellModels, order: str) -> Callable[[Tensor], Tensor]:
    """Return the published formulation's prediction, pictures -> logits (B, C)."""
    return _published(models, order, {"beta": models.beta}).predict


def _host_prediction(models: CellModels, student: Student, pictures: Tensor) -> Call:
    """Return the host's own prediction; its text features (C, D_v) are made once, before."""
    prompts = student.prompts()
    with torch.no_grad():
        text = student.encode_text(prompts.embeddings, prompts.tokens)
    return torch.no_grad()(
        lambda: student.logits(student.encode_image(pictures), text, models.fusion)
    )


def _encode_at(models: CellModels, phi: int) -> Call:
    """Return the host's image encoder at phi pixels."""
    student = models.student_at(phi)
    pictures = models.random_pictures(phi)
    return lambda: student.encode_image(pictures)
