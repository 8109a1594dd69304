"""LOREAL put together: a training step and a prediction, on tensors and two frozen students.

    images -> student.encode_image -> features (B, F, D_v) -> condition -> f (B, D_v)
    f of alpha, f of beta -> bridge -> meta-nets -> contents S (B, K, D_t) for each prompt
    S -> student.text_path -> text features (B, C, D_v) -> student.logits (B, C) -> losses

Only the meta-nets train. At test alpha is gone: beta fills its own prompt.

Shapes: B images, C classes, K attributes, F features an image (MMRL has two, the others one),
D_v width of an image embedding, D_t width of a token embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.bridge import condition_inputs, mix_weight
from loreal_plugin.method.correction import Correction
from loreal_plugin.method.losses import alpha_learns, loreal_loss
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.options import LorealOptions


class Student(Protocol):
    """What LOREAL asks of a frozen prompt learner whose prompts have slots.

    Attributes:
        encode_image: images (B, 3, S, S) -> L2-normalised features (B, F, D_v).
        condition: features (B, F, D_v) -> what the meta-nets read of them (B, D_v).
        text_path: contents (B, K, D_t) -> text features (B, C, D_v); takes `shift`, see below.
        prompt_shift: features -> what an image adds to rows 1..n of its prompts (B, n, D_t); None
            where the host's own prompts are the same for every image.
        logits: features, text features (C, D_v) or (B, C, D_v), fusion -> scaled logits (B, C).
        mean: (F, D_v) features of the mean training picture, None before there is one.
    """

    encode_image: Callable[[Tensor], Tensor]
    condition: Callable[[Tensor], Tensor]
    text_path: Callable[..., Tensor]
    prompt_shift: Callable[[Tensor], Tensor | None] | None
    logits: Callable[[Tensor, Tensor, bool], Tensor]
    mean: Tensor | None


class Loreal(nn.Module):
    """Two students and the meta-nets; calling it is what is deployed: beta's logits of images.

    Args:
        alpha: the student at the native size; None for a model that only predicts.
        beta: the student at phi.
        meta_nets: shared by both.
        options: bridge, losses, conditioning.
        fusion: whether predictions use the host's mix of its features (MMRL).
    """

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
        # Students are no sub-modules: they have nothing to train and never change mode.
        self.alpha, self.beta = alpha, beta
        self.options, self.fusion = options, fusion
        self.correction: Correction | None = None
        # Features (B, F, D_v) -> logits (B, C) in another inference mode; None: exact.
        self.mode: Callable[[Tensor], Tensor] | None = None

    # ---- prediction ------------------------------------------------------------------------------

    def forward(self, images: Tensor) -> Tensor:
        """Return beta's logits (B, C) for images (B, 3, phi, phi)."""
        return self.predict(self.embed(images))

    def embed(self, images: Tensor) -> Tensor:
        """Return beta's features (B, F, D_v) of images (B, 3, phi, phi), corrected (key DRIFT)."""
        features = self.beta.encode_image(images)
        return features if self.correction is None else self.correction(features)

    def predict(self, features: Tensor) -> Tensor:
        """Return beta's logits (B, C) for its features (B, F, D_v), in the mode that is set."""
        if self.mode is not None:
            return self.mode(features)
        contents = self.contents(self.beta, features)
        return self.logits(self.beta, features, contents, self.fusion)

    # ---- training --------------------------------------------------------------------------------

    def losses(
        self, features_alpha: Tensor, features_beta: Tensor, labels: Tensor, progress: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of a batch by name, and beta's logits (B, C).

        Args:
            features_alpha, features_beta: (B, F, D_v) of the same pictures, beta's corrected.
            labels: (B,) class indices.
            progress: share of the training done, in [0, 1]; steers the mix bridge.

        Source: the paper's training objective; the mix bridge is the authors' code.
        """
        o, alpha, beta = self.options, self.alpha, self.beta
        assert alpha is not None, "a model without alpha only predicts"
        f_alpha = self._condition(alpha, features_alpha)  # (B, D_v)
        f_beta = self._condition(beta, features_beta)
        weight = mix_weight(progress, o.mix_start, o.mix_max)
        unit = o.mmrl_condition != "fusion_raw" or features_beta.shape[1] == 1
        for_alpha, for_beta = condition_inputs(
            f_alpha, f_beta, bridge=o.bridge, mix_weight=weight, mix_alpha=o.mix_alpha, unit=unit
        )
        own_alpha, own_beta = self.meta_nets(f_alpha), self.meta_nets(f_beta)  # (B, K, D_t)

        def filled_with(f: Tensor) -> Tensor:
            # All bridges but the mix give one of the two embeddings: its contents exist already.
            if f is f_alpha:
                return own_alpha
            return own_beta if f is f_beta else self.meta_nets(f)

        def logits_of_alpha(contents: Tensor) -> Tensor:
            # where no loss trains through alpha's text, its graph would only take memory
            with torch.set_grad_enabled(alpha_learns(o) and torch.is_grad_enabled()):
                return self.logits(alpha, features_alpha, contents, True)

        logits_alpha = logits_of_alpha(filled_with(for_alpha))
        logits_beta = self.logits(beta, features_beta, filled_with(for_beta), True)
        crossed = None
        if o.cross_weight:
            crossed_beta = self.logits(beta, features_beta, own_alpha, True)
            crossed = logits_of_alpha(own_beta), crossed_beta
        losses = loreal_loss(
            logits_alpha, logits_beta, labels, own_alpha, own_beta, o, cross_logits=crossed
        )
        return losses, logits_beta

    # ---- one student -----------------------------------------------------------------------------

    def contents(self, student: Student, features: Tensor) -> Tensor:
        """Return the contents (B, K, D_t) that a student's features (B, F, D_v) give."""
        return self.meta_nets(self._condition(student, features))

    def logits(self, student: Student, features: Tensor, contents: Tensor, fusion: bool) -> Tensor:
        """Return a student's logits (B, C) with contents (B, K, D_t) in the slots of its prompts.

        Args:
            features: (B, F, D_v), the student's own, of the same pictures.
            fusion: whether the host's mix of its features counts; always in training.
        """
        one_for_all = self.options.constant_conditioning
        if self.options.conditioning == "batch":
            contents, one_for_all = contents.mean(0, keepdim=True), True  # (1, K, D_t)
        elif one_for_all:
            contents = contents[:1]
        if student.prompt_shift is not None:  # the host's own prompts differ from image to image
            contents = contents.expand(len(features), -1, -1)  # (B, K, D_t)
            text = student.text_path(contents, shift=student.prompt_shift(features))
        else:
            text = student.text_path(contents)  # (B, C, D_v); (1, C, D_v) where one serves all
            text = text[0] if one_for_all else text
        return student.logits(features, text, fusion)

    def _condition(self, student: Student, features: Tensor) -> Tensor:
        """Return what the meta-nets read (B, D_v): of the features, or of their training mean."""
        if self.options.constant_conditioning:
            if student.mean is None:
                raise ConfigError(
                    "CONSTANT_CONDITIONING needs the training mean: load a trained checkpoint first"
                )
            features = student.mean.to(features).expand_as(features)
        return student.condition(features)
