"""MaPLe: multi-modal prompt learning. Text prompts at several depths, each projected into an image
prompt.

Source: Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, section 3.2.
Shape legend: B images, C classes, L context length (77), n learned tokens, D_t text width, D image
tower width, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from trainers import _encoders
from trainers._base import PromptTrainer
from trainers._clip import check_layers, load_clip_to_cpu
from trainers._encoders import put_rows, unit
from trainers._prompts import context_vectors, embed_tokens, spoken, token_count, tokenize


class TextEncoder(_encoders.TextEncoder):
    """The text tower; blocks 2, 3, ... see fresh learned tokens right after the start token."""

    def forward(
        self,
        prompts: Tensor,
        tokenized_prompts: Tensor,
        compound_prompts_deeper_text: Sequence[Tensor],
    ) -> Tensor:
        """Return the text features (C, D_v) of `prompts` (C, L, D_t) and deep prompts (n, D_t)."""
        deep = list(compound_prompts_deeper_text)

        def enter(index: int, x: Tensor) -> Tensor:
            if not 1 <= index <= len(deep):
                return x
            return put_rows(x, deep[index - 1], 1, len(deep[index - 1]))

        return self.encode(prompts, tokenized_prompts, enter)


class ImageEncoder(_encoders.ImageEncoder):
    """The vision tower with learned tokens as its last rows, renewed before blocks 2, 3, ..."""

    def forward(
        self, image: Tensor, shared_ctx: Tensor, compound_deeper_prompts: Sequence[Tensor]
    ) -> Tensor:
        """Return the image features (B, D_v) for `image` (B, 3, S, S) and prompts, each (n, D)."""
        deep = list(compound_deeper_prompts)

        def enter(index: int, x: Tensor) -> Tensor:
            if not 1 <= index <= len(deep):
                return x
            n_ctx = len(deep[index - 1])
            return put_rows(x, deep[index - 1], x.shape[0] - n_ctx, n_ctx)

        x = self.embed(image)
        shared = shared_ctx.to(x.dtype).expand(x.shape[0], -1, -1)
        return self.project(self.encode(self.ln_pre(torch.cat([x, shared], dim=1)), enter))


class MultiModalPromptLearner(nn.Module):
    """Learned text tokens for the first blocks, and a linear map of each into the image tower."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        options = cfg.TRAINER.MAPLE
        depth, n_ctx = options.PROMPT_DEPTH, options.N_CTX
        check_layers("TRAINER.MAPLE.PROMPT_DEPTH", [depth], clip_model, first=1)
        text_width = clip_model.ln_final.weight.shape[0]
        image_width = clip_model.visual.ln_post.weight.shape[0]

        ctx, words = context_vectors(options.CTX_INIT, n_ctx, clip_model)
        self.ctx = nn.Parameter(ctx)
        self.proj = nn.Linear(text_width, image_width)
        deeper = range(depth - 1)
        self.compound_prompts_text = nn.ParameterList(
            nn.Parameter(torch.empty(n_ctx, text_width).normal_(std=0.02)) for _ in deeper
        )
        self.compound_prompt_projections = nn.ModuleList(
            nn.Linear(text_width, image_width) for _ in deeper
        )
        for layer in self.compound_prompt_projections[1:]:  # all start alike
            layer.load_state_dict(self.compound_prompt_projections[0].state_dict())

        names = spoken(classnames)
        self.tokenized_prompts = tokenize([f"{words} {name}." for name in names])
        embedding = embed_tokens(clip_model, self.tokenized_prompts)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])
        self.n_cls, self.n_ctx, self.compound_prompts_depth = len(names), n_ctx, depth
        self.name_lens = [token_count(name) for name in names]

    def forward(self) -> tuple[Tensor, Tensor, nn.ParameterList, list[Tensor]]:
        """Return prompts (C, L, D_t), first image tokens (n, D), deep text and image tokens."""
        ctx = self.ctx.to(self.token_prefix.dtype).expand(self.n_cls, -1, -1)
        prompts = torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)
        pairs = zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)
        return (
            prompts,
            self.proj(self.ctx),
            self.compound_prompts_text,
            [layer(text) for layer, text in pairs],
        )


class CustomCLIP(nn.Module):
    """CLIP with coupled prompts in both towers."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype
        self.image_encoder = ImageEncoder(clip_model.visual)
        self.text_encoder = TextEncoder(clip_model)
        learner = MultiModalPromptLearner(cfg, classnames, clip_model)
        self.prompt_learner, self.tokenized_prompts = learner, learner.tokenized_prompts

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the logits (B, C) of `image` (B, 3, S, S); in training the loss for `label`."""
        prompts, shared_ctx, deep_text, deep_image = self.prompt_learner()
        text_features = unit(self.text_encoder(prompts, self.tokenized_prompts, deep_text))
        image_features = unit(self.image_encoder(image.type(self.dtype), shared_ctx, deep_image))
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        return F.cross_entropy(logits, label) if self.prompt_learner.training else logits


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """Trains the prompts of both towers with cross-entropy."""

    node = "MAPLE"
    registered = "MultiModalPromptLearner"
    fixed = ("token_prefix", "token_suffix")

    def load_clip(self) -> nn.Module:
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames: list[str], clip_model: nn.Module) -> nn.Module:
        """Return CLIP with coupled prompts."""
        return CustomCLIP(self.cfg, classnames, clip_model)

    def loss(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the cross-entropy that the model computes in training mode."""
        return self.model(image, label), {}
