"""Stand-in for the public CoCoOp: the same parts and names, on the embedded host's bases."""

from __future__ import annotations

from collections import OrderedDict

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from trainers._base import PromptTrainer
from trainers._clip import load_clip_to_cpu
from trainers._encoders import TextEncoder, unit
from trainers._prompts import context_vectors, embed_tokens, spoken, token_count, tokenize


class PromptLearner(nn.Module):
    """Context rows plus what `meta_net` makes of an image."""

    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        options = cfg.TRAINER.COCOOP
        n_ctx = token_count(options.CTX_INIT) if options.CTX_INIT else options.N_CTX
        ctx, words = context_vectors(options.CTX_INIT, n_ctx, clip_model)
        self.ctx = nn.Parameter(ctx)
        width, joint = clip_model.ln_final.weight.shape[0], clip_model.visual.output_dim
        layers = [("linear1", nn.Linear(joint, joint // 16)), ("relu", nn.ReLU())]
        self.meta_net = nn.Sequential(
            OrderedDict([*layers, ("linear2", nn.Linear(joint // 16, width))])
        )
        self.tokenized_prompts = tokenize([f"{words} {name}." for name in spoken(classnames)])
        embedding = embed_tokens(clip_model, self.tokenized_prompts)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self, image_features):
        """Return prompts (B, C, L, D_t)."""
        prompts = []
        for shift in self.meta_net(image_features):
            ctx = (self.ctx + shift).expand(len(self.token_prefix), -1, -1)
            prompts.append(torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1))
        return torch.stack(prompts)


class CustomCLIP(nn.Module):
    """CLIP with prompts of its own for every image."""

    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype
        self.image_encoder, self.text_encoder = clip_model.visual, TextEncoder(clip_model)
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.tokenized_prompts = self.prompt_learner.tokenized_prompts

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (B, C), in training mode the loss."""
        features = unit(self.image_encoder(image.type(self.dtype)))
        texts = [
            unit(self.text_encoder(p, self.tokenized_prompts))
            for p in self.prompt_learner(features)
        ]
        logits = torch.stack(
            [self.logit_scale.exp() * f @ t.t() for f, t in zip(features, texts, strict=True)]
        )
        return F.cross_entropy(logits, label) if self.prompt_learner.training else logits


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """Trains context and meta_net."""

    node = "COCOOP"
    registered = "prompt_learner"
    fixed = ("token_prefix", "token_suffix")

    def load_clip(self):
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        """Return the model."""
        return CustomCLIP(self.cfg, classnames, clip_model)

    def learner(self):
        """Return the prompt learner."""
        return self.model.prompt_learner

    def loss(self, image, label):
        """Return the loss that the model computes."""
        return self.model(image, label), {}
