"""The model of stage 3: two frozen students, meta-nets, and the text path of each student.

Shapes: B images, C classes, K attributes, F features an image, D_v embedding width, D_t text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from loreal_plugin.attributes import tokenise_attributes
from loreal_plugin.contract import HostContract
from loreal_plugin.contract.tokens import text_ids
from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.modes import Inference
from loreal_plugin.method.bridge import condition_inputs, mix_weight
from loreal_plugin.method.correction import Correction
from loreal_plugin.method.losses import loreal_loss
from loreal_plugin.method.meta_nets import MetaNets, init_meta_nets_
from loreal_plugin.method.slots import splice_slots
from loreal_plugin.options import WITH_CONTENTS, WITH_WORDS, LorealOptions
from loreal_plugin.students.student import Student
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

TextPath = Callable[..., Tensor]
# A word that means next to nothing before an attribute, and stands for "not told" in the
# demonstration captions: the start of META_INIT neutral.
NEUTRAL_WORD = "some"


def attribute_ids(student: Student, words: Sequence[Any]) -> list[Any]:
    """Return the ids of K attributes, or of K for every class where `words` has a list a class.

    Raises:
        AttributeFileError: an attribute tokenises to nothing.
    """

    def encode(text: str) -> list[int]:
        return text_ids(text, student.tokenize)

    if words and not isinstance(words[0], str):
        return [tokenise_attributes(list(of_class), encode) for of_class in words]
    return tokenise_attributes(list(words), encode)


def check_text_path(contract: HostContract, options: LorealOptions) -> None:
    """Check that a method can take the slot order and the text path.

    Raises:
        ConfigError: it overwrites the rows where the slots would be; or its prompts differ from
            image to image, so that nothing of them can be computed once a class.
    """
    if options.slot_order not in contract.slot_orders:
        raise ConfigError(
            f"SLOT_ORDER {options.slot_order} is not possible for method '{contract.method}', which"
            " overwrites the rows after the start token; choose"
            f" {' or '.join(contract.slot_orders)}"
        )
    if options.text_path == "prefix" and not contract.static_prompts:
        raise ConfigError(
            f"TEXT_PATH prefix is not possible for method '{contract.method}', whose own context"
            " depends on the image; set TRAINER.LOREAL.TEXT_PATH reference"
        )


def build_text_path(student: Student, words: Sequence[Any], options: LorealOptions) -> TextPath:
    """Return contents (B, K, D_t) -> text features (B, C, D_v) of a student's prompts with slots.

    Raises:
        ConfigError: the method cannot take the slot order, or a prompt would be too long.
        AttributeFileError: an attribute tokenises to nothing.
    """
    check_text_path(student.contract, options)
    host = student.prompts()
    prompts = splice_slots(
        host.embeddings,
        host.tokens,
        attribute_tokens=attribute_ids(student, words),
        embed=student.token_embedding,
        n_content=options.n_content,
        order=options.slot_order,
        class_start=host.class_start,
        with_token=text_ids("with", student.tokenize)[0],
        period_token=text_ids(".", student.tokenize)[0],
        classnames=list(student.classnames),
        words=options.slot_parts in WITH_WORDS,
        contents=options.slot_parts in WITH_CONTENTS,
    )
    budget = options.memory_budget_mb * 2**20 // _text_passes(options)
    if options.text_path == "reference":
        return ReferenceTextPath(
            prompts, student.encode_text, options.class_chunk, student.embed_contents, budget
        )
    return PrefixTextPath(prompts, student.text_blocks(), options.class_chunk, budget=budget)


def _text_passes(options: LorealOptions) -> int:
    """Return how many text passes of a training step hold activations at the same time."""
    return 1 + int(alpha_learns(options)) + (2 if options.cross_weight else 0)


def alpha_learns(options: LorealOptions) -> bool:
    """Return whether a loss lets a gradient through to alpha's text features."""
    return options.hld_direction != "alpha_to_beta" and (
        options.hld_weight > 0 or options.cross_weight > 0
    )


def build_meta_nets(
    student: Student, words: Sequence[Any], visual_dim: int, options: LorealOptions, seed: int
) -> MetaNets:
    """Return freshly started meta-nets in float32; the start depends on the seed alone."""
    text_dim = student.token_weight.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = MetaNets(
            options.n_attributes, visual_dim, options.hidden_dim, text_dim, options.meta_bias
        )
    if options.meta_init != "default":
        ids = attribute_ids(student, words)
        per_attribute = (
            list(zip(*ids, strict=True)) if not isinstance(words[0], str) else [[i] for i in ids]
        )
        means = [torch.cat([_rows(student, i) for i in of_k]).mean(0) for of_k in per_attribute]
        neutral = _rows(student, text_ids(NEUTRAL_WORD, student.tokenize)).mean(0)
        init_meta_nets_(
            nets, options.meta_init, word_embeddings=torch.stack(means), neutral=neutral
        )
    return nets.to(student.device)


def _rows(student: Student, ids: Sequence[int]) -> Tensor:
    return student.token_embedding(torch.tensor(list(ids))).float().cpu()


@dataclass
class TrainingMeans:
    """The mean features (F, D_v) of both students over the training pictures; None before there are
    any.
    """

    alpha: Tensor | None = None
    beta: Tensor | None = None
    _sums: list[Any] = field(default_factory=list)

    def restart(self) -> None:
        """Begin a new pass over the training pictures."""
        self._sums = [0.0, 0.0, 0]

    def add(self, features_alpha: Tensor, features_beta: Tensor) -> None:
        """Take in a batch (B, F, D_v) of each; the means are those of the pass so far."""
        batches = [f.detach().double().sum(0).cpu() for f in (features_alpha, features_beta)]
        self._sums = [
            self._sums[0] + batches[0],
            self._sums[1] + batches[1],
            self._sums[2] + len(features_alpha),
        ]
        self.alpha, self.beta = ((total / self._sums[2]).float() for total in self._sums[:2])


class LorealModel(nn.Module):
    """Two students and the meta-nets; `forward` is what is deployed: beta with S(f_beta)."""

    def __init__(
        self,
        alpha: Student | None,
        beta: Student,
        meta_nets: MetaNets,
        options: LorealOptions,
        *,
        fusion: bool,
    ) -> None:
        super().__init__()
        self.meta_nets = meta_nets
        self.options, self.fusion = options, fusion
        self.means = TrainingMeans()
        self.drift: Correction | None = None
        self.inference: Inference | None = None  # None: exact
        # Plain objects: the students are no parameters of this model and never change mode.
        self.students: dict[str, Student] = (
            {"beta": beta} if alpha is None else {"alpha": alpha, "beta": beta}
        )
        self.paths: dict[str, TextPath] = {}

    def set_words(self, words: Sequence[Any]) -> None:
        """Put attribute words into the slots of both students' prompts."""
        self.paths = {
            name: build_text_path(s, words, self.options) for name, s in self.students.items()
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return beta's logits (B, C) for images (B, 3, phi, phi)."""
        return self.predict(self.embed_beta(images))

    def embed_beta(self, images: Tensor) -> Tensor:
        """Return beta's features (B, F, D_v) of images (B, 3, phi, phi), corrected for drift where
        DRIFT says so.
        """
        features = self.students["beta"].encode_image(images)
        return features if self.drift is None else self.drift(features)

    def predict(self, features_beta: Tensor) -> Tensor:
        """Return beta's logits (B, C) for its features (B, F, D_v), with contents made of these, in
        the mode set.
        """
        if self.inference is not None:
            return self.inference(features_beta)
        contents = self.meta_nets(self._condition("beta", features_beta))
        return self._logits("beta", features_beta, contents, self.fusion)

    def contents(self, name: str, features: Tensor) -> Tensor:
        """Return the contents (B, K, D_t) that a student's features (B, F, D_v) give."""
        return self.meta_nets(self._condition(name, features))

    def logits(self, name: str, features: Tensor, contents: Tensor) -> Tensor:
        """Return a student's logits (B, C) for its features (B, F, D_v) with contents (B, K, D_t)
        in its prompts.
        """
        return self._logits(name, features, contents, self.fusion)

    def losses(
        self, features_alpha: Tensor, features_beta: Tensor, labels: Tensor, progress: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of a batch by name, and beta's logits (B, C).

        Args:
            features_alpha, features_beta: (B, F, D_v) of the same pictures, beta's corrected for
                drift.
            labels: (B,).
            progress: share of the training done, in [0, 1]; steers the mix bridge.

        Source: the paper's training objective; the mix bridge is the authors' code.
        """
        o = self.options
        f_alpha, f_beta = (
            self._condition("alpha", features_alpha),
            self._condition("beta", features_beta),
        )
        weight = mix_weight(progress, o.mix_start, o.mix_max)
        for_alpha, for_beta = condition_inputs(
            f_alpha, f_beta, bridge=o.bridge, mix_weight=weight, mix_alpha=o.mix_alpha
        )
        own = {id(f_alpha): self.meta_nets(f_alpha), id(f_beta): self.meta_nets(f_beta)}

        def contents_of(f: Tensor) -> Tensor:
            return own[id(f)] if id(f) in own else self.meta_nets(f)

        with torch.set_grad_enabled(alpha_learns(o) and torch.is_grad_enabled()):
            logits_alpha = self._logits("alpha", features_alpha, contents_of(for_alpha), True)
        logits_beta = self._logits("beta", features_beta, contents_of(for_beta), True)
        cross = None
        if o.cross_weight:
            cross = (
                self._logits("alpha", features_alpha, own[id(f_beta)], True),
                self._logits("beta", features_beta, own[id(f_alpha)], True),
            )
        found = loreal_loss(
            logits_alpha,
            logits_beta,
            labels,
            own[id(f_alpha)],
            own[id(f_beta)],
            hld_weight=o.hld_weight,
            lld_weight=o.lld_weight,
            hld_temperature=o.hld_temperature,
            lld_temperature=o.lld_temperature,
            hld_direction=o.hld_direction,
            hld_tau_squared=o.hld_tau_squared,
            cross_logits=cross,
            cross_weight=o.cross_weight,
        )
        return found, logits_beta

    def _condition(self, name: str, features: Tensor) -> Tensor:
        """Return what the meta-nets read (B, D_v): of the features, or of their training mean."""
        if self.options.constant_conditioning:
            mean = getattr(self.means, name)
            if mean is None:
                raise ConfigError(
                    "CONSTANT_CONDITIONING needs the training mean: load a trained checkpoint first"
                )
            features = mean.to(features).expand_as(features)
        return self.students[name].condition(features, self.options.mmrl_condition)

    def _logits(self, name: str, features: Tensor, contents: Tensor, fusion: bool) -> Tensor:
        """Return a student's logits (B, C) with these contents (B, K, D_t) in its prompts."""
        path, shift = self.paths[name], self.students[name].prompt_shift(features)
        batch, constant = self.options.conditioning == "batch", self.options.constant_conditioning
        if batch or constant:
            contents = contents.mean(0, keepdim=True) if batch else contents[:1]
        if (
            shift is not None
        ):  # the host's own prompts differ from image to image, whatever the contents are
            text = path(contents.expand(len(features), -1, -1), shift=shift)
        else:
            text = path(contents)
            text = (
                text[0] if batch or constant else text
            )  # (C, D_v): one prompt a class serves all images
        return self.students[name].logits(features, text, fusion)
