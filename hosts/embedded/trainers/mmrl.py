"""MMRL: multi-modal representation learning. Tokens of one learned space enter both towers.

Source: Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", CVPR
2025, section 3.
Shape legend: B images, C classes, L context length (77), n representation tokens, D_r width of the
shared space, D_t text width, D image tower width, D_v joint width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from dassl.engine import TRAINER_REGISTRY
from dassl.metrics import compute_accuracy
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from trainers import _encoders
from trainers._base import PromptTrainer
from trainers._cache import TextCache
from trainers._clip import check_layers, load_clip_to_cpu
from trainers._encoders import put_rows, unit
from trainers._plugin import ConfigError
from trainers._prompts import embed_tokens, template_prompts, tokenize

# CLIP's trained temperature, which the paper takes as a constant
LOGIT_SCALE = 100.0
TASKS = ("B2N", "FS", "CD")
CACHED = (
    "text_features_for_inference",
    "compound_rep_tokens_text_for_inference",
    "compound_rep_tokens_visual_for_inference",
)


def insert_rep_tokens(rep_layers: Sequence[int], tokens: Sequence[Tensor]) -> _encoders.Enter:
    """Return the row change of both towers: tokens after the first row, inserted once, then
    renewed.

    Args:
        rep_layers: increasing layer numbers (1 is the first block).
        tokens: the tokens (n, D) of each of these layers.
    """
    rows = dict(zip(rep_layers, tokens, strict=True))

    def enter(index: int, x: Tensor) -> Tensor:
        layer = index + 1
        if layer not in rows:
            return x
        return put_rows(x, rows[layer], 1, 0 if layer == rep_layers[0] else len(rows[layer]))

    return enter


class TextEncoder_MMRL(_encoders.TextEncoder):
    """The text tower with representation tokens after the start token, from a given layer on."""

    def __init__(self, clip_model: nn.Module, rep_layers: Sequence[int]) -> None:
        super().__init__(clip_model)
        self.rep_layers = tuple(rep_layers)

    def forward(
        self, prompts: Tensor, tokenized_prompts: Tensor, compound_rep_tokens_text: list[Tensor]
    ) -> Tensor:
        """Return the text features (C, D_v) for `prompts` (C, L, D_t) and one (n, D_t) a layer."""
        enter = insert_rep_tokens(self.rep_layers, compound_rep_tokens_text)
        return self.encode(
            prompts, tokenized_prompts, enter, inserted=len(compound_rep_tokens_text[0])
        )


class ImageEncoder(_encoders.ImageEncoder):
    """The vision tower with representation tokens and a second, learned projection for them."""

    def __init__(self, visual: nn.Module, rep_layers: Sequence[int]) -> None:
        super().__init__(visual)
        self.rep_layers = tuple(rep_layers)
        width, joint = visual.proj.shape
        self.proj_rep = nn.Parameter(torch.randn(width, joint) * width**-0.5)

    def forward(self, inputs: list) -> tuple[Tensor, Tensor]:
        """Return class and representation features (B, D_v) of [image, one (n, D) a layer]."""
        image, tokens = inputs
        x = self.encode(self.ln_pre(self.embed(image)), insert_rep_tokens(self.rep_layers, tokens))
        rep = self.ln_post(x[:, 1 : 1 + len(tokens[0])]).mean(dim=1)
        return self.project(x), rep @ self.proj_rep.type(rep.dtype)


class MultiModalRepresentationLearner(nn.Module):
    """The learned tokens (n, D_r) and, for each layer, their maps into the two towers.

    All of it stays in float32: AdamW's epsilon is zero in half precision.
    """

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        options = cfg.TRAINER.MMRL
        self._check(options, clip_model)
        self.dtype = clip_model.dtype
        self.tokenized_prompts = tokenize(template_prompts(cfg.DATASET.NAME, classnames))
        self.prompt_embeddings = embed_tokens(clip_model, self.tokenized_prompts)

        n_layers, rep_dim = len(options.REP_LAYERS), options.REP_DIM
        self.rep_layers_length = n_layers
        self.compound_rep_tokens = nn.Parameter(
            torch.empty(options.N_REP_TOKENS, rep_dim).normal_(std=0.02)
        )
        self.compound_rep_tokens_r2vproj = self._maps(
            rep_dim, clip_model.visual.ln_post.weight.shape[0], n_layers
        )
        self.compound_rep_tokens_r2tproj = self._maps(
            rep_dim, clip_model.ln_final.weight.shape[0], n_layers
        )

    @staticmethod
    def _check(options: CfgNode, clip_model: nn.Module) -> None:
        layers = list(options.REP_LAYERS)
        if not layers or layers != sorted(set(layers)):
            raise ConfigError(
                f"TRAINER.MMRL.REP_LAYERS is {layers}; give increasing layer numbers, e.g. [6,"
                " 7, 8]"
            )
        check_layers("TRAINER.MMRL.REP_LAYERS", layers, clip_model, first=1)
        if options.N_REP_TOKENS < 1:
            raise ConfigError(
                f"TRAINER.MMRL.N_REP_TOKENS is {options.N_REP_TOKENS}; at least 1 is needed"
            )

    @staticmethod
    def _maps(rep_dim: int, width: int, n_layers: int) -> nn.ModuleList:
        maps = nn.ModuleList(nn.Linear(rep_dim, width) for _ in range(n_layers))
        for layer in maps[1:]:  # all start alike
            layer.load_state_dict(maps[0].state_dict())
        return maps

    def forward(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tokens of each layer for the text (n, D_t) and the image tower (n, D)."""
        tokens = self.compound_rep_tokens
        text = [layer(tokens).type(self.dtype) for layer in self.compound_rep_tokens_r2tproj]
        image = [layer(tokens).type(self.dtype) for layer in self.compound_rep_tokens_r2vproj]
        return text, image


class CustomCLIP(nn.Module):
    """CLIP with representation tokens in both towers and two image features."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        rep_layers = cfg.TRAINER.MMRL.REP_LAYERS
        self.alpha = cfg.TRAINER.MMRL.ALPHA
        self.classnames = classnames
        self.representation_learner = MultiModalRepresentationLearner(cfg, classnames, clip_model)
        self.tokenized_prompts = self.representation_learner.tokenized_prompts
        self.register_buffer("prompt_embeddings", self.representation_learner.prompt_embeddings)
        self.image_encoder = ImageEncoder(clip_model.visual, rep_layers)
        self.text_encoder = TextEncoder_MMRL(clip_model, rep_layers)
        self.dtype = clip_model.dtype
        self._cache = TextCache(self, CACHED, self.representation_learner)
        self._cache.clear()

    def train(self, mode: bool = True) -> CustomCLIP:
        """Set the mode and forget kept text features."""
        self._cache.clear()
        return super().train(mode)

    def _text_side(self) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        text, image = self.representation_learner()
        return self.text_encoder(self.prompt_embeddings, self.tokenized_prompts, text), text, image

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return logits of the class features, of the representation features and of both (B, C),
        and the normalised class features (B, D_v) and text features (C, D_v)."""
        text_features, _, rep_tokens = self._cache.get(self._text_side)
        image_features, rep_features = self.image_encoder([image.type(self.dtype), rep_tokens])
        image_features, text_features = unit(image_features), unit(text_features)
        logits = LOGIT_SCALE * image_features @ text_features.t()
        logits_rep = LOGIT_SCALE * unit(rep_features) @ text_features.t()
        fusion = self.alpha * logits + (1 - self.alpha) * logits_rep
        return logits, logits_rep, fusion, image_features, text_features


class MMRL_Loss(nn.Module):
    """Cross-entropy of both features, and closeness of both towers to the untouched CLIP's."""

    def __init__(self, reg_weight: float = 1.0, alpha: float = 0.7) -> None:
        super().__init__()
        self.reg_weight, self.alpha = reg_weight, alpha

    def forward(
        self,
        logits: Tensor,
        logits_rep: Tensor,
        image_features: Tensor,
        text_features: Tensor,
        image_features_clip: Tensor,
        text_features_clip: Tensor,
        label: Tensor,
    ) -> Tensor:
        """Return the loss; logits (B, C), image and text features (., D_v), label (B,)."""
        fit = self.alpha * F.cross_entropy(logits, label)
        fit = fit + (1 - self.alpha) * F.cross_entropy(logits_rep, label)
        drift_image = 1 - F.cosine_similarity(image_features, image_features_clip, dim=1).mean()
        drift_text = 1 - F.cosine_similarity(text_features, text_features_clip, dim=1).mean()
        return fit + self.reg_weight * (drift_image + drift_text)


@TRAINER_REGISTRY.register()
class MMRL(PromptTrainer):
    """Trains tokens, maps and the second projection."""

    node = "MMRL"
    registered = "MultiModalRepresentationLearner"
    fixed = ("prompt_embeddings",)

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise ConfigError on an unknown precision or task."""
        super().check_cfg(cfg)
        if cfg.TASK not in TASKS:
            raise ConfigError(f"TASK is '{cfg.TASK}'; it must be one of {', '.join(TASKS)}")

    def load_clip(self) -> nn.Module:
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames: list[str], clip_model: nn.Module) -> nn.Module:
        """Return CLIP with representation tokens, and set the untouched CLIP beside it as the
        teacher.

        The teacher is the same frozen tensors walked without the tokens, so it costs no memory.
        """
        options = self.cfg.TRAINER.MMRL
        model = CustomCLIP(self.cfg, classnames, clip_model)
        self.num_classes = len(classnames)
        self.dtype = clip_model.dtype
        self.image_encoder_clip = clip_model.visual.to(self.device)
        self.text_encoder_clip = _encoders.TextEncoder(clip_model).to(self.device)
        prompts = model.prompt_embeddings.to(self.device)
        with torch.no_grad():
            self.text_features_clip = unit(self.text_encoder_clip(prompts, model.tokenized_prompts))
        self.criterion = MMRL_Loss(reg_weight=options.REG_WEIGHT, alpha=options.ALPHA)
        return model

    def loss(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the criterion and the accuracy of the mixed logits on the batch in percent."""
        with torch.no_grad():
            image_features_clip = unit(self.image_encoder_clip(image.type(self.dtype)))
        logits, logits_rep, fusion, image_features, text_features = self.model(image)
        loss = self.criterion(
            logits,
            logits_rep,
            image_features,
            text_features,
            image_features_clip,
            self.text_features_clip,
            label,
        )
        return loss, {"acc": compute_accuracy(fusion, label)[0].item()}

    def model_inference(self, input: Tensor) -> Tensor:
        """Return the logits (B, C) that the task is scored with.

        Both features in few-shot tests and where the classes were trained on (the base half;
        ImageNet across datasets), the class feature alone elsewhere.
        """
        logits, _, fusion, _, _ = self.model(input)
        seen = {
            "FS": True,
            "B2N": self.cfg.DATASET.SUBSAMPLE_CLASSES == "base",
            "CD": self.cfg.DATASET.NAME == "ImageNet",
        }
        return fusion if seen[self.cfg.TASK] else logits
