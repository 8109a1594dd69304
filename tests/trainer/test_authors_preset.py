"""Preset `authors` against their formulas, written down slowly: commit 88f228e, CoOp, float32.

Prompts are tokenised as a whole text for each class, rows are put in one by one for each image,
every class and image goes through the host's text encoder alone, and each loss is a sum of
logarithms. Nothing here uses the project's slots, bridge, losses or text path.

Shapes: B images, C classes, K attributes, D_t text width, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import random_clip_state_dict
from torch import Tensor

from loreal_plugin.students.student import Student
from loreal_plugin.trainer.step import embed

WORDS = ("color", "shape", "size", "structure", "outline")
N_CTX, M = 16, 2
CONTEXT = ("TRAINER.COOP.N_CTX", N_CTX, "TRAINER.COOP.CTX_INIT", "")
PRESET = "TRAINER.LOREAL.PRESET"
POSITIONS = ("TRAINER.LOREAL.POSITION_RESAMPLING", "bicubic_antialias")


@pytest.fixture(scope="module")
def folders(family, tmp_path_factory) -> dict[str, Any]:
    """Give settings: students with sixteen context tokens that started at random, and their CLIP.

    Its text encoder tells class names far apart. Where it hardly does, a divergence is the small
    difference of large logits, and no two float32 computations of it agree to 1e-5.
    """
    base = tmp_path_factory.mktemp("authors")
    state = random_clip_state_dict()
    for name in state:
        if name.startswith("transformer.") and name.endswith("in_proj_weight"):
            state[name] *= 2
    state["token_embedding.weight"] *= 5
    torch.save(state, base / "clip.pt")
    clip = ("MODEL.BACKBONE.NAME", base / "clip.pt")
    for name, size in (("alpha", 64), ("beta", 32)):
        words = ("OPTIM.MAX_EPOCH", 1, *CONTEXT, *POSITIONS, *clip)
        host = family.build("coop", base / name, *words, host=True, size=size, seed=size)
        with torch.no_grad():  # as if much had been learned: the students then disagree
            host.model.prompt_learner.ctx.mul_(5)
        host.save_model(0, str(base / name))
    places = {f"TRAINER.LOREAL.{name.upper()}_DIR": base / name for name in ("alpha", "beta")}
    return {clip[0]: clip[1], **places}


def build(family: Any, out: Any, folders: dict[str, Any], preset: str, *more: Any) -> Any:
    words = [word for pair in folders.items() for word in pair]
    return family.build("coop", out, *words, *CONTEXT, PRESET, preset, *more)


@pytest.fixture(scope="module", params=["authors", "authors-2bf828e"])
def step(request, family, folders, tmp_path_factory) -> Iterator[tuple[Any, Any]]:
    """Give a trainer and a reference that have both looked at one batch of pictures."""
    trainer = build(family, tmp_path_factory.mktemp("out"), folders, request.param)
    batch = next(iter(trainer.train_loader_x))
    yield trainer, Reference(trainer, batch, cross=request.param != "authors")


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class Reference:
    """One step on one batch, by the formulas."""

    def __init__(self, trainer: Any, batch: dict[str, Tensor], *, cross: bool) -> None:
        self.nets = trainer.model.meta_nets
        self.alpha, self.beta = trainer.model.alpha, trainer.model.beta
        self.labels = batch["label"]
        with torch.no_grad():
            self.f_alpha = unit(self.alpha.model.image_encoder(batch["img"]))
            self.f_beta = unit(self.beta.model.image_encoder(batch["img_low"]))
        of_alpha, of_beta = self.contents(self.f_alpha), self.contents(self.f_beta)
        own = of_beta if cross else of_alpha  # what fills alpha's prompt
        # the mix is at its maximum from the first step: beta reads itself, normalised once more
        mine = of_alpha if cross else self.contents(unit(0.0 * self.f_alpha + 1.0 * self.f_beta))
        self.text = self.texts(self.beta, mine)
        self.logits_alpha = self.logits(self.alpha, self.f_alpha, self.texts(self.alpha, own))
        self.logits_beta = self.logits(self.beta, self.f_beta, self.text)
        self.parts = {
            "ce": -self.log_p(self.logits_beta)[range(len(self.labels)), self.labels].mean(),
            "hld": self.divergence(self.logits_alpha, self.logits_beta),
            "lld": self.contrast(of_alpha, of_beta),
        }
        # their cross entropy over attributes is a mean over B and K, weighted by 2
        self.parts["loss"] = self.parts["ce"] + self.parts["hld"] + 2 * self.parts["lld"] / 5
        if not cross:
            crossed = (
                self.logits(self.alpha, self.f_alpha, self.texts(self.alpha, of_beta)),
                self.logits(self.beta, self.f_beta, self.texts(self.beta, of_alpha)),
            )
            self.parts["cross"] = self.divergence(*crossed)
            self.parts["loss"] = self.parts["loss"] + 0.1 * self.parts["cross"]

    def contents(self, f: Tensor) -> Tensor:
        """Return contents (B, K, D_t), one image and one attribute after the other."""
        rows = []
        for vector in f:
            found = []
            for net in self.nets.meta_nets:
                hidden = (net.down.weight @ vector + net.down.bias).clamp(min=0)
                found.append(net.up.weight @ hidden + net.up.bias)
            rows.append(torch.stack(found))
        return torch.stack(rows)

    def texts(self, student: Student, contents: Tensor) -> Tensor:
        """Return text features (B, C, D_v) of length one."""
        found = []
        for own in contents:
            found.append(
                torch.stack([self.text_of(student, name, own) for name in student.classnames])
            )
        return torch.stack(found)

    def text_of(self, student: Student, name: str, contents: Tensor) -> Tensor:
        """Return the feature (D_v,) of `X X color ... X X outline X (16 times) name.`"""
        marks = " ".join(["X"] * M)
        words = [part for word in WORDS for part in (marks, word)]
        text = " ".join([*words, " ".join(["X"] * N_CTX), f"{name.replace('_', ' ')}."])
        tokens = student.tokenize([text])  # (1, 77)
        rows = list(student.token_weight[tokens[0]])
        at = 1
        for k, word in enumerate(WORDS):
            rows[at : at + M] = [contents[k]] * M
            at += M + int(student.tokenize([word])[0].argmax()) - 1
        rows[at : at + N_CTX] = list(student.model.prompt_learner.ctx)
        return unit(student.model.text_encoder(torch.stack(rows)[None], tokens))[0]

    def logits(self, student: Student, f: Tensor, texts: Tensor) -> Tensor:
        """Return scaled logits (B, C)."""
        return student.model.logit_scale.exp() * (f[:, None] * texts).sum(-1)

    @staticmethod
    def log_p(logits: Tensor) -> Tensor:
        return logits - logits.exp().sum(1, keepdim=True).log()

    def divergence(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """Return KL(p_alpha || p_beta), mean over B; alpha teaches only."""
        log_alpha, log_beta = self.log_p(alpha.detach()), self.log_p(beta)
        return (log_alpha.exp() * (log_alpha - log_beta)).sum(1).mean()

    @staticmethod
    def contrast(alpha: Tensor, beta: Tensor) -> Tensor:
        """Return the contrast over attributes: sum over K, mean over B."""
        total = alpha.new_zeros(())
        for own, other in zip(unit(alpha), unit(beta), strict=True):
            for k in range(len(own)):
                cosines = torch.stack([own[k] @ other[j] for j in range(len(own))])
                total = total - (cosines[k] - cosines.exp().sum().log())
        return total / len(alpha)


def close(ours: Tensor, theirs: Tensor) -> None:
    """Hold the largest difference to 1e-5 of the largest value."""
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def gradients(nets: Any, loss: Tensor) -> Tensor:
    nets.zero_grad()
    loss.backward(retain_graph=True)
    return torch.cat([p.grad.flatten() for p in nets.parameters()])


def test_a_step_is_theirs_to_1e_5(step):
    trainer, theirs = step
    model, nets = trainer.model, trainer.model.meta_nets
    assert tuple(trainer.stage3.words) == WORDS
    features = theirs.f_alpha[:, None], theirs.f_beta[:, None]
    found, logits = model.losses(*features, theirs.labels, 1.0)
    close(nets(theirs.f_alpha), theirs.contents(theirs.f_alpha))
    close(logits, theirs.logits_beta)
    assert set(found) == set(theirs.parts)
    for name, value in theirs.parts.items():
        close(found[name], value)
    ours, wanted = (gradients(nets, loss) for loss in (found["loss"], theirs.parts["loss"]))
    assert (ours - wanted).norm() <= 1e-5 * wanted.norm()


def test_features_and_text_features_are_theirs(step):
    trainer, theirs = step
    model, o = trainer.model, trainer.stage3.options
    batch = next(iter(trainer.train_loader_x))
    f_alpha, f_beta, _ = embed(trainer.model, trainer.stage3.means, batch, trainer.device)
    close(f_alpha[:, 0], theirs.f_alpha)
    close(f_beta[:, 0], theirs.f_beta)
    contents = model.meta_nets(theirs.f_alpha if o.bridge == "cross" else theirs.f_beta)
    close(unit(model.beta.text_path(contents)), theirs.text)


def test_a_prediction_reads_betas_own_embedding(step):
    trainer, theirs = step
    batch = next(iter(trainer.train_loader_x))
    own = theirs.texts(theirs.beta, theirs.contents(theirs.f_beta))
    with torch.no_grad():
        close(trainer.model(batch["img_low"]), theirs.logits(theirs.beta, theirs.f_beta, own))


@pytest.mark.parametrize(("start", "wanted"), [(0.0, [1, 1, 1, 1]), (0.5, [0, 0, 0.5, 1])])
def test_the_mix_weighs_the_same_in_every_epoch(family, folders, tmp_path, start, wanted):
    words = ("TRAINER.LOREAL.MIX_START", start, "OPTIM.MAX_EPOCH", 4)
    trainer = build(family, tmp_path, folders, "authors", *words)
    seen: list[list[float]] = [[] for _ in wanted]
    batches = list(trainer.train_loader_x)
    trainer.num_batches = len(batches)
    for trainer.epoch in range(len(wanted)):
        for trainer.batch_idx, batch in enumerate(batches[:2]):
            seen[trainer.epoch].append(trainer.forward_backward(batch)["mix_weight"])
    assert seen == [[weight] * 2 for weight in wanted]
