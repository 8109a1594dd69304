"""Stand-in for the public IVLP: learned rows inside the blocks of both towers, same names."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from trainers._base import PromptTrainer
from trainers._clip import load_clip_to_cpu
from trainers._encoders import unit
from trainers._prompts import context_vectors, embed_tokens, spoken, tokenize

from trainers import _encoders

ROUNDS = True  # the public one rounds its rows to half precision


def written(rows: Tensor) -> Tensor:
    """Return rows as the blocks write them."""
    return rows.half().to(rows.dtype) if ROUNDS else rows


class Block(nn.Module):
    """A CLIP block that may overwrite rows: behind the start token (text) or the last (images)."""

    def __init__(self, block, n_ctx: int, text: bool):
        super().__init__()
        self.attn, self.ln_1, self.mlp, self.ln_2 = block.attn, block.ln_1, block.mlp, block.ln_2
        self.attn_mask, self.n_ctx, self.text, self.add_prompt = (
            block.attn_mask,
            n_ctx,
            text,
            n_ctx > 0,
        )
        if self.add_prompt:
            self.VPT_shallow = nn.Parameter(
                torch.empty(n_ctx, block.ln_1.weight.shape[0]).normal_(std=0.02)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return rows (L, N, D)."""
        if self.add_prompt:
            rows = written(self.VPT_shallow)[:, None].expand(-1, x.shape[1], -1).to(x.dtype)
            parts = [x[:1], rows, x[1 + self.n_ctx :]] if self.text else [x[: -self.n_ctx], rows]
            x = torch.cat(parts)
        y = self.ln_1(x)
        mask = None if self.attn_mask is None else self.attn_mask.to(y.dtype)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


def with_rows(transformer: nn.Module, depth: int, n_ctx: int, text: bool) -> None:
    """Replace the blocks of a transformer; the second to the `depth`-th hold rows."""
    blocks = [
        Block(b, n_ctx if 1 <= i < depth else 0, text) for i, b in enumerate(transformer.resblocks)
    ]
    transformer.resblocks = nn.Sequential(*blocks)


class TextEncoder(_encoders.TextEncoder):
    """The text tower, block by block as the blocks are."""

    def forward(self, prompts: Tensor, tokenized_prompts: Tensor) -> Tensor:
        """Return text features (N, D_v)."""
        x = (prompts + self.positional_embedding.type(self.dtype)).permute(1, 0, 2)
        x = self.ln_final(self.transformer(x).permute(1, 0, 2)).type(self.dtype)
        return x[torch.arange(len(x)), tokenized_prompts.argmax(dim=-1)] @ self.text_projection


class ImageEncoder(_encoders.ImageEncoder):
    """The vision tower with learned rows at its end."""

    def __init__(self, visual: nn.Module, n_ctx: int):
        super().__init__(visual)
        self.VPT = nn.Parameter(torch.empty(n_ctx, self.ln_pre.weight.shape[0]).normal_(std=0.02))

    def forward(self, image: Tensor) -> Tensor:
        """Return image features (B, D_v)."""
        x = self.embed(image)
        x = self.ln_pre(torch.cat([x, written(self.VPT).to(x.dtype).expand(len(x), -1, -1)], dim=1))
        return self.project(self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))


class VLPromptLearner(nn.Module):
    """Context rows and the fixed rest of the prompts."""

    def __init__(self, options, classnames, clip_model):
        super().__init__()
        n_ctx = options.N_CTX_TEXT
        ctx, words = context_vectors(options.CTX_INIT, n_ctx, clip_model)
        self.ctx, self.n_ctx = nn.Parameter(ctx), n_ctx
        self.tokenized_prompts = tokenize([f"{words} {name}." for name in spoken(classnames)])
        embedding = embed_tokens(clip_model, self.tokenized_prompts)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self) -> Tensor:
        """Return prompts (C, L, D_t)."""
        ctx = self.ctx.expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)


class CustomCLIP(nn.Module):
    """CLIP with learned rows in both towers."""

    def __init__(self, options, classnames, clip_model):
        super().__init__()
        with_rows(clip_model.transformer, options.PROMPT_DEPTH_TEXT, options.N_CTX_TEXT, text=True)
        with_rows(
            clip_model.visual.transformer,
            options.PROMPT_DEPTH_VISION,
            options.N_CTX_VISION,
            text=False,
        )
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype
        self.image_encoder = ImageEncoder(clip_model.visual, options.N_CTX_VISION)
        self.text_encoder = TextEncoder(clip_model)
        self.prompt_learner = VLPromptLearner(options, classnames, clip_model)
        self.tokenized_prompts = self.prompt_learner.tokenized_prompts

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (B, C), in training mode the loss."""
        image_features = unit(self.image_encoder(image.type(self.dtype)))
        text_features = unit(self.text_encoder(self.prompt_learner(), self.tokenized_prompts))
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        return F.cross_entropy(logits, label) if self.prompt_learner.training else logits


@TRAINER_REGISTRY.register()
class IVLP(PromptTrainer):
    """Trains the context and the rows in both towers."""

    node = "IVLP"
    registered = "VLPromptLearner"
    fixed = ("token_prefix", "token_suffix")

    def load_clip(self):
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        """Return the model."""
        return CustomCLIP(self.cfg.TRAINER.IVLP, classnames, clip_model)

    def loss(self, image, label):
        """Return the loss that the model computes."""
        return self.model(image, label), {}
