"""CoOp: context optimization. The words around the class name become learned vectors.

Source: Zhou, Yang, Loy, Liu, "Learning to Prompt for Vision-Language Models", IJCV 2022, section
3.2.
Shape legend: B images, C classes, L context length (77), n learned tokens, D_t text width.
"""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY
from dassl.metrics import compute_accuracy
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from trainers._base import PromptTrainer
from trainers._clip import load_clip_to_cpu
from trainers._encoders import TextEncoder, unit
from trainers._plugin import ConfigError
from trainers._prompts import context_vectors, embed_tokens, spoken, token_count, tokenize

POSITIONS = ("end", "middle", "front")


class PromptLearner(nn.Module):
    """The learned context `ctx`, (n, D_t) or one a class (C, n, D_t), and the rest of prompts."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        options = cfg.TRAINER.COOP
        self._check(options)
        # with words given, as many tokens learn as the words have
        n_ctx = (
            token_count(options.CTX_INIT.replace("_", " ")) if options.CTX_INIT else options.N_CTX
        )
        ctx, words = context_vectors(options.CTX_INIT, n_ctx, clip_model)
        if options.CSC:
            ctx = torch.empty(len(classnames), *ctx.shape).normal_(std=0.02)
        self.ctx = nn.Parameter(ctx)

        names = spoken(classnames)
        self.tokenized_prompts = tokenize([f"{words} {name}." for name in names])
        embedding = embed_tokens(clip_model, self.tokenized_prompts)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])
        self.n_cls, self.n_ctx = len(names), n_ctx
        self.name_lens = [token_count(name) for name in names]
        self.class_token_position = options.CLASS_TOKEN_POSITION

    @staticmethod
    def _check(options: CfgNode) -> None:
        if options.CLASS_TOKEN_POSITION not in POSITIONS:
            raise ConfigError(
                f"TRAINER.COOP.CLASS_TOKEN_POSITION is '{options.CLASS_TOKEN_POSITION}'; "
                f"it must be one of {', '.join(POSITIONS)}"
            )
        if options.CSC and options.CTX_INIT:
            raise ConfigError(
                f"TRAINER.COOP.CSC with CTX_INIT '{options.CTX_INIT}': contexts of classes start at"
                " random; set CTX_INIT to '' or CSC to False"
            )

    def forward(self) -> Tensor:
        """Return the prompt embeddings (C, L, D_t)."""
        ctx = self.ctx.to(self.token_prefix.dtype)
        ctx = ctx.expand(self.n_cls, -1, -1) if ctx.dim() == 2 else ctx
        if self.class_token_position == "end":
            return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)
        before = self.n_ctx // 2 if self.class_token_position == "middle" else 0
        return torch.stack(
            [self._around_name(index, ctx[index], before) for index in range(self.n_cls)]
        )

    def _around_name(self, index: int, ctx: Tensor, before: int) -> Tensor:
        """Return one prompt (L, D_t): `before` learned tokens precede the class name."""
        name, rest = self.token_suffix[index].tensor_split([self.name_lens[index]])
        return torch.cat([self.token_prefix[index], ctx[:before], name, ctx[before:], rest])


class CustomCLIP(nn.Module):
    """CLIP with learned context; the image encoder is untouched."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype
        self.image_encoder, self.text_encoder = clip_model.visual, TextEncoder(clip_model)
        learner = PromptLearner(cfg, classnames, clip_model)
        self.prompt_learner, self.tokenized_prompts = learner, learner.tokenized_prompts

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, C) of `image` (B, 3, S, S)."""
        image_features = unit(self.image_encoder(image.type(self.dtype)))
        text_features = unit(self.text_encoder(self.prompt_learner(), self.tokenized_prompts))
        return self.logit_scale.exp() * image_features @ text_features.t()


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Trains the context with cross-entropy."""

    node = "COOP"
    registered = "prompt_learner"
    fixed = ("token_prefix", "token_suffix")

    def load_clip(self) -> nn.Module:
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames: list[str], clip_model: nn.Module) -> nn.Module:
        """Return CLIP with a learned context."""
        return CustomCLIP(self.cfg, classnames, clip_model)

    def learner(self) -> nn.Module:
        """Return the prompt learner: checkpoints hold no CLIP weights."""
        return self.model.prompt_learner

    def loss(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return cross-entropy and the accuracy on the batch in percent."""
        output = self.model(image)
        return F.cross_entropy(output, label), {"acc": compute_accuracy(output, label)[0].item()}
