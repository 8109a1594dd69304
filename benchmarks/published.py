"""The published formulation, written down plainly; `loreal bench` compares the project with it.

Every image and class has a full prompt of 77 tokens, all B x C of them go through the host's own
text encoder at once, and every training step runs both image encoders. Nothing is kept between
calls. `tests/bench` checks that the loss, its gradients and the logits equal the fast path's.

Shapes: B images, C classes, K attributes, M content tokens a slot, L = 77 tokens, D_t text width,
D_v joint width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.contract.text import text_ids
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.options import LorealOptions
from loreal_plugin.students.student import Student


class FullPrompts:
    """A student's C prompts with slots, as embeddings (C, L, D_t) with holes for the contents.

    `hole` (C, L) holds the number of the attribute whose content stands in a row, and -1 elsewhere.
    """

    def __init__(self, student: Student, words: Sequence[str], n_content: int, order: str) -> None:
        host = student.prompts()
        period = text_ids(".", student.tokenize)[0]
        slots: list[tuple[int, int]] = []  # (token id, hole)
        if order == "class_first":
            slots += [(token, -1) for token in text_ids("with", student.tokenize)]
        for k, word in enumerate(words):
            slots += [(0, k)] * n_content
            slots += [(token, -1) for token in text_ids(word, student.tokenize)]
        extra = student.token_embedding(torch.tensor([token for token, _ in slots]))
        rows, tokens, holes = [], [], []
        for embedding, ids in zip(host.embeddings, host.tokens, strict=True):
            end = int(ids.argmax())
            at = 1 if order == "slots_first" else end - int(ids[end - 1] == period)
            length = len(ids)
            rows.append(torch.cat([embedding[:at], extra.to(embedding), embedding[at:]])[:length])
            tokens.append(
                torch.cat([ids[:at], ids.new_tensor([t for t, _ in slots]), ids[at:]])[:length]
            )
            holes.append(torch.tensor(([-1] * at + [k for _, k in slots] + [-1] * length)[:length]))
        self.student = student
        self.rows, self.tokens = torch.stack(rows), torch.stack(tokens)
        self.hole = torch.stack(holes).to(self.rows.device)

    def encode(self, contents: Tensor) -> Tensor:
        """Return text features (B, C, D_v), unnormalised, of contents (B, K, D_t) in one pass."""
        contents = self.student.embed_contents(contents.to(self.rows.dtype))
        full = torch.where(
            self.hole[None, :, :, None] >= 0, contents[:, self.hole.clamp(min=0)], self.rows
        )
        tokens = self.tokens.expand(len(contents), -1, -1)
        features = self.student.encode_text(full.flatten(0, 1), tokens.flatten(0, 1))
        return features.unflatten(0, full.shape[:2])


class PublishedFormulation:
    """Both students and the meta-nets, without any of the project's shortcuts.

    Args:
        students: `beta`, and for training `alpha`.
        meta_nets: shared with whatever it is compared to.
        words: K attributes.
        options: bridge `self` or `cross`, HLD_DIRECTION `alpha_to_beta` or `mutual`, SLOT_ORDER
            `class_first` or `slots_first`; the plain version knows no others.
        fusion: whether predictions use the host's mix of features (MMRL).

    Raises:
        ValueError: an option that it does not know.
    """

    def __init__(
        self,
        students: dict[str, Student],
        meta_nets: MetaNets,
        words: Sequence[str],
        options: LorealOptions,
        *,
        fusion: bool,
    ) -> None:
        known = {
            "bridge": ("self", "cross"),
            "hld_direction": ("alpha_to_beta", "mutual"),
            "slot_order": ("class_first", "slots_first"),
            "conditioning": ("instance",),
            "slot_parts": ("both",),
        }
        wrong = [
            f"{name} {getattr(options, name)}"
            for name, ok in known.items()
            if getattr(options, name) not in ok
        ]
        if wrong or options.cross_weight:
            raise ValueError(
                f"the published formulation here does not know {', '.join(wrong) or 'CROSS_WEIGHT'}"
            )
        self.students, self.meta_nets = students, meta_nets
        self.options, self.fusion = options, fusion
        self.prompts = {
            name: FullPrompts(s, words, options.n_content, options.slot_order)
            for name, s in students.items()
        }

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return beta's logits (B, C) of images (B, 3, phi, phi)."""
        features = self.students["beta"].encode_image(images)
        contents = self.meta_nets(self._read("beta", features))
        return self._logits("beta", features, contents, self.fusion)

    def loss(self, images: Tensor, images_low: Tensor, labels: Tensor) -> Tensor:
        """Return the stage-3 loss of a batch; the gradient reaches the meta-nets only."""
        o = self.options
        features = {
            "alpha": self.students["alpha"].encode_image(images),
            "beta": self.students["beta"].encode_image(images_low),
        }
        contents = {name: self.meta_nets(self._read(name, f)) for name, f in features.items()}
        # whose contents fill whose prompts
        cross = o.bridge == "cross"
        source = {"alpha": "beta", "beta": "alpha"} if cross else {"alpha": "alpha", "beta": "beta"}
        # A detached teacher needs no graph; a plain implementation would know that much.
        with torch.set_grad_enabled(o.hld_direction == "mutual"):
            alpha = self._logits("alpha", features["alpha"], contents[source["alpha"]], True)
        beta = self._logits("beta", features["beta"], contents[source["beta"]], True)
        return (
            F.cross_entropy(beta, labels)
            + o.hld_weight * self._high_level(alpha, beta)
            + o.lld_weight / o.n_attributes * self._low_level(contents["alpha"], contents["beta"])
        )

    def _read(self, name: str, features: Tensor) -> Tensor:
        return self.students[name].condition(features, mode=self.options.mmrl_condition)

    def _logits(self, name: str, features: Tensor, contents: Tensor, fusion: bool) -> Tensor:
        return self.students[name].logits(features, self.prompts[name].encode(contents), fusion)

    def _high_level(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """Return KL(p_alpha || p_beta) of softened class distributions, mean over B."""
        log_alpha = (alpha / self.options.hld_temperature).log_softmax(dim=-1)
        log_beta = (beta / self.options.hld_temperature).log_softmax(dim=-1)
        loss = (log_alpha.exp() * (log_alpha - log_beta)).sum(dim=-1).mean()
        return loss * self.options.hld_temperature**2 if self.options.hld_tau_squared else loss

    def _low_level(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """Return the contrast over attributes of contents (B, K, D_t): sum over K, mean over B."""
        total = alpha.new_zeros(())
        for k in range(alpha.shape[1]):
            similarity = F.cosine_similarity(alpha[:, k : k + 1], beta, dim=-1)  # (B, K)
            target = torch.full((len(alpha),), k, dtype=torch.long, device=alpha.device)
            total = total + F.cross_entropy(similarity / self.options.lld_temperature, target)
        return total
