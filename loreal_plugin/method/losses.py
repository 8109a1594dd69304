"""The losses of stage 3: cross-entropy, high-level and low-level distillation, in float32.

A softmax over hundreds of classes and a cosine of near-parallel vectors lose too much in half
precision. Shapes: B images, C classes, K attributes, D_t text width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.options import LorealOptions

HLD_DIRECTIONS = ("alpha_to_beta", "mutual", "symmetric")


def high_level_distillation(
    logits_alpha: Tensor,
    logits_beta: Tensor,
    temperature: float,
    direction: str = "mutual",
    tau_squared: bool = False,
) -> Tensor:
    """Return the KL divergence of the students' softened class distributions, mean over B.

    Args:
        logits_alpha: (B, C) scaled logits of the standard-resolution student.
        logits_beta: (B, C) scaled logits of the low-resolution student.
        temperature: both distributions are softmax(logits / temperature).
        direction: `alpha_to_beta` = KL(p_alpha || p_beta) with alpha detached, `mutual` = the same
            with gradient to both, `symmetric` = KL(p_alpha || p_beta) + KL(p_beta || p_alpha).
        tau_squared: multiply by temperature ** 2, which keeps the gradient's size when it changes.

    Raises:
        ConfigError: unknown direction or a temperature that is not positive.

    Source: LOREAL, high-level distillation; whether the tau ** 2 factor is used is not published.
    """
    if direction not in HLD_DIRECTIONS:
        raise ConfigError(unknown_name("HLD_DIRECTION", direction, HLD_DIRECTIONS))
    _check_temperature("HLD_TEMPERATURE", temperature)
    if direction == "alpha_to_beta":
        # alpha is the teacher alone: nothing of this loss reaches what fills its prompt
        logits_alpha = logits_alpha.detach()
    log_p_alpha = F.log_softmax(logits_alpha.float() / temperature, dim=-1)
    log_p_beta = F.log_softmax(logits_beta.float() / temperature, dim=-1)
    # F.kl_div(q, p) is KL(p || q); log_target keeps the target's small probabilities exact
    loss = F.kl_div(log_p_beta, log_p_alpha, reduction="batchmean", log_target=True)
    if direction == "symmetric":
        loss = loss + F.kl_div(log_p_alpha, log_p_beta, reduction="batchmean", log_target=True)
    # gradients of softened logits shrink with the squared temperature; the factor undoes that
    return loss * temperature**2 if tau_squared else loss


def low_level_distillation(
    contents_alpha: Tensor, contents_beta: Tensor, temperature: float
) -> Tensor:
    """Return the contrast between the students' contents, summed over K, mean over B.

    For each image and attribute k, S_k(f_alpha) and S_k(f_beta) are the positive pair and
    S_j(f_beta), j != k, the negatives; similarities are cosines divided by the temperature.

    Args:
        contents_alpha: (B, K, D_t) contents made from alpha's visual embedding.
        contents_beta: (B, K, D_t) contents made from beta's visual embedding.
        temperature: divisor of the cosines.

    Raises:
        ConfigError: a temperature that is not positive.

    Source: LOREAL, low-level distillation.
    """
    _check_temperature("LLD_TEMPERATURE", temperature)
    alpha = F.normalize(contents_alpha.float(), dim=-1)
    beta = F.normalize(contents_beta.float(), dim=-1)
    similarity = alpha @ beta.transpose(1, 2) / temperature  # (B, K of alpha, K of beta)
    positive = similarity.diagonal(dim1=1, dim2=2)  # (B, K)
    # -log softmax of the own attribute among all K: negatives are other slots of the same image
    return (similarity.logsumexp(dim=-1) - positive).sum(dim=-1).mean()


def alpha_learns(options: LorealOptions) -> bool:
    """Return whether a loss lets a gradient through to alpha's text features."""
    used = options.hld_weight > 0 or options.cross_weight > 0
    return options.hld_direction != "alpha_to_beta" and used


def text_passes(options: LorealOptions) -> int:
    """Return how many text passes of a training step keep activations for their gradients."""
    each = 1 + int(alpha_learns(options))
    return each * (2 if options.cross_weight else 1)


def loreal_loss(
    logits_alpha: Tensor,
    logits_beta: Tensor,
    labels: Tensor,
    contents_alpha: Tensor,
    contents_beta: Tensor,
    options: LorealOptions,
    cross_logits: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the stage-3 loss and its parts: `loss`, `ce`, `hld`, `lld` and, if used, `cross`.

    loss = CE(beta logits, labels) + HLD_WEIGHT * hld + LLD_WEIGHT / K * lld
    [+ CROSS_WEIGHT * hld of the crossed prompts]. Parts are unweighted: a log shows what each is.

    Args:
        logits_alpha, logits_beta: (B, C) scaled logits with the bridge's text features.
        labels: (B,) class indices.
        contents_alpha, contents_beta: (B, K, D_t) made from each student's own embedding.
        options: weights, temperatures and direction.
        cross_logits: (alpha, beta) logits of the pure cross path; CROSS_WEIGHT needs them.

    Raises:
        ConfigError: see the two distillation losses; or CROSS_WEIGHT without `cross_logits`.
    """
    o = options
    if o.cross_weight and cross_logits is None:
        raise ConfigError(f"CROSS_WEIGHT {o.cross_weight} needs the cross path's logits, got none")
    hld_options = (o.hld_temperature, o.hld_direction, o.hld_tau_squared)
    parts = {
        "ce": F.cross_entropy(logits_beta.float(), labels),
        "hld": high_level_distillation(logits_alpha, logits_beta, *hld_options),
        "lld": low_level_distillation(contents_alpha, contents_beta, o.lld_temperature),
    }
    # lambda 2 is for a mean over attributes, and the loss is their sum
    n_attributes = contents_alpha.shape[1]
    loss = parts["ce"] + o.hld_weight * parts["hld"] + o.lld_weight / n_attributes * parts["lld"]
    if o.cross_weight and cross_logits is not None:
        cross_alpha, cross_beta = cross_logits
        parts["cross"] = high_level_distillation(cross_alpha, cross_beta, *hld_options)
        loss = loss + o.cross_weight * parts["cross"]
    return {"loss": loss, **parts}


def _check_temperature(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} must be positive, got {value}")
