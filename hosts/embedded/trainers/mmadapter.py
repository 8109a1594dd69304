"""MMA: multi-modal adapter. Bottlenecks beside upper blocks of both towers share a layer.

Source: Yang, Zhang, Wang, Xie, "MMA: Multi-Modal Adapter for Vision-Language Models", CVPR 2024,
section 3.
Shape legend: B images, C classes, L context length (77), T tokens, D_t text width, D tower width,
D_v joint width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from trainers import _encoders
from trainers._base import PromptTrainer
from trainers._cache import TextCache
from trainers._clip import check_layers, load_clip_to_cpu
from trainers._encoders import unit
from trainers._plugin import ConfigError
from trainers._prompts import embed_tokens, spoken, tokenize

# adapter of this tower or None, adapter shared by both towers or None, scale
Adapters = tuple[nn.Module | None, nn.Module | None, float]
AdapterFunc = Callable[[int], Adapters]  # from the layer's index


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


def adapt(x: Tensor, adapters: Adapters) -> Tensor | None:
    """Return the scaled adapter output of `x` (..., D), or None where the layer has no adapter."""
    adapter, shared, scale = adapters
    if adapter is None:
        return None
    y = adapter.down(x)
    y = y if shared is None else shared(y)
    return adapter.up(y) * scale


def block_branch(blocks: nn.Sequential, adapter_func: AdapterFunc) -> _encoders.Branch:
    """Return the branch beside the blocks: the adapter on the block's normalised input.

    The adapter's own gradient is not damped by the scale (it learns as if the scale were 1); the
    gradient that passes through it to earlier layers is.
    """

    def branch(index: int, x: Tensor) -> Tensor | None:
        adapters = adapter_func(index + 1)  # 0 is the embedding
        if adapters[0] is None:
            return None
        scale = adapters[2]
        y = adapt(blocks[index].ln_1(_ScaleGradient.apply(x, scale)), adapters)
        return _ScaleGradient.apply(y, 1.0 / scale)

    return branch


class TextEncoder(_encoders.TextEncoder):
    """The text tower, with or without adapters beside its blocks."""

    def forward(
        self,
        prompts: Tensor,
        tokenized_prompts: Tensor,
        retrun_adapater_func: AdapterFunc | None = None,
    ) -> Tensor:
        """Return the text features (C, D_v) of `prompts` (C, L, D_t); spelt as in the host."""
        if retrun_adapater_func is None:
            return self.encode(prompts, tokenized_prompts)
        branch = block_branch(self.transformer.resblocks, retrun_adapater_func)
        return self.encode(prompts, tokenized_prompts, branch=branch)


class ImageEncoder(_encoders.ImageEncoder):
    """The vision tower, with or without adapters after its embedding and beside its blocks."""

    def forward(self, image: Tensor | list) -> Tensor:
        """Return the image features (B, D_v) of `image` (B, 3, S, S) or [image, adapter_func]."""
        if isinstance(image, Tensor):
            return self.project(self.encode(self.ln_pre(self.embed(image))))
        image, adapter_func = image
        x = self.ln_pre(self.embed(image))
        extra = adapt(x, adapter_func(0))
        x = x if extra is None else x + extra
        return self.project(
            self.encode(x, branch=block_branch(self.transformer.resblocks, adapter_func))
        )


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input and keeps its weights in float32.

    Optimisers with an epsilon divide by zero on half-precision weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., D_out) for `x` (..., D_in), in the type of `x`."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


def _build_adapters(width: int, n_layers: int, options: CfgNode) -> nn.ModuleList:
    """Return an adapter for each of `n_layers` + 1 layers of width `width`.

    Layers outside ADAPTER_START..ADAPTER_END have None.
    """
    bottleneck = options.ADAPTER_DIM

    def create() -> nn.Module:
        down = nn.Sequential(Linear(width, bottleneck), nn.ReLU())
        return nn.Sequential(OrderedDict(down=down, up=Linear(bottleneck, width)))

    return _initialised(create, n_layers, options)


def _build_shared(n_layers: int, options: CfgNode) -> nn.ModuleList:
    """Return the layers between `down` and `up` that both towers use."""
    bottleneck = options.ADAPTER_DIM
    return _initialised(
        lambda: nn.Sequential(Linear(bottleneck, bottleneck), nn.ReLU()), n_layers, options
    )


def _initialised(create: Callable[[], nn.Module], n_layers: int, options: CfgNode) -> nn.ModuleList:
    used = range(options.ADAPTER_START, options.ADAPTER_END + 1)
    adapters = nn.ModuleList(create() if index in used else None for index in range(n_layers + 1))
    for module in adapters.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return adapters


class AdapterLearner(nn.Module):
    """The adapters of both towers and the fixed prompts; there are no learned tokens."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        options = cfg.TRAINER.MMADAPTER
        self._check(options, clip_model)
        prompts = [f"{options.TEXT_CTX_INIT} {name}." for name in spoken(classnames)]
        tokenized_prompts = tokenize(prompts)
        self.register_buffer("token_embedding", embed_tokens(clip_model, tokenized_prompts))
        self.register_buffer("tokenized_prompts", tokenized_prompts)

        visual = clip_model.visual
        n_text, n_image = len(clip_model.transformer.resblocks), len(visual.transformer.resblocks)
        self.text_adapter = _build_adapters(clip_model.ln_final.weight.shape[0], n_text, options)
        self.visual_adapter = _build_adapters(visual.ln_post.weight.shape[0], n_image, options)
        self.shared_adapter = _build_shared(n_image, options)
        self.adapter_scale = float(options.ADAPTER_SCALE)
        self.n_cls = len(prompts)

    @staticmethod
    def _check(options: CfgNode, clip_model: nn.Module) -> None:
        start, end = options.ADAPTER_START, options.ADAPTER_END
        if start > end:
            raise ConfigError(
                f"TRAINER.MMADAPTER: ADAPTER_START {start} is after ADAPTER_END {end}; no layer is"
                " left"
            )
        if float(options.ADAPTER_SCALE) == 0.0:
            raise ConfigError(
                "TRAINER.MMADAPTER.ADAPTER_SCALE is 0: the adapters would do nothing; give another"
            )
        check_layers("TRAINER.MMADAPTER.ADAPTER_START/END", [start, end], clip_model, first=0)

    def text_adapter_func(self, index: int) -> Adapters:
        """Return what the text tower has at layer `index` (0: embedding, 1: first block)."""
        return self._at(self.text_adapter, index)

    def visual_adapter_func(self, index: int) -> Adapters:
        """Return what the vision tower has at layer `index` (0: embedding, 1: first block)."""
        return self._at(self.visual_adapter, index)

    def _at(self, tower: nn.ModuleList, index: int) -> Adapters:
        own, shared = (adapters[index] for adapters in (tower, self.shared_adapter))
        return own, shared, self.adapter_scale

    def forward(self) -> tuple[Tensor, AdapterFunc, AdapterFunc]:
        """Return prompt embeddings (C, L, D_t), layer 0 adapted, and both adapter functions."""
        extra = adapt(self.token_embedding, self.text_adapter_func(0))
        embedding = self.token_embedding if extra is None else self.token_embedding + extra
        return embedding, self.text_adapter_func, self.visual_adapter_func


class CustomCLIP(nn.Module):
    """CLIP with adapters in both towers."""

    def __init__(self, cfg: CfgNode, classnames: list[str], clip_model: nn.Module) -> None:
        super().__init__()
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype
        self.image_encoder = ImageEncoder(clip_model.visual)
        self.text_encoder = TextEncoder(clip_model)
        learner = AdapterLearner(cfg, classnames, clip_model)
        self.adapter_learner, self.tokenized_prompts = learner, learner.tokenized_prompts
        self.text_features_for_inference: Tensor | None = None
        self._cache = TextCache(self, ("text_features_for_inference",), self.adapter_learner)

    def train(self, mode: bool = True) -> CustomCLIP:
        """Set the mode and forget kept text features."""
        self._cache.clear()
        return super().train(mode)

    def encode_text(
        self,
        prompts: Tensor,
        tokenized_prompts: Tensor,
        text_adapter_func: AdapterFunc | None = None,
    ) -> Tensor:
        """Return the text features (C, D_v), with adapters where a function for them is given."""
        return self.text_encoder(prompts, tokenized_prompts, text_adapter_func)

    def encode_image(self, image: Tensor, visual_adapter_func: AdapterFunc | None = None) -> Tensor:
        """Return the image features (B, D_v), with adapters where a function for them is given."""
        image = image.type(self.dtype)
        return self.image_encoder(
            image if visual_adapter_func is None else [image, visual_adapter_func]
        )

    def _text_features(self) -> Tensor:
        embedding, text_adapter_func, _ = self.adapter_learner()
        return self.encode_text(embedding, self.tokenized_prompts, text_adapter_func)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, C) of `image` (B, 3, S, S)."""
        (text_features,) = self._cache.get(lambda: (self._text_features(),))
        image_features = self.encode_image(image, self.adapter_learner.visual_adapter_func)
        return self.logit_scale.exp() * unit(image_features) @ unit(text_features).t()


@TRAINER_REGISTRY.register()
class MultiModalAdapter(PromptTrainer):
    """Trains the adapters with cross-entropy."""

    node = "MMADAPTER"
    registered = "adapter_learner"
    fixed = ("token_embedding", "tokenized_prompts")

    def load_clip(self) -> nn.Module:
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames: list[str], clip_model: nn.Module) -> nn.Module:
        """Return CLIP with adapters."""
        return CustomCLIP(self.cfg, classnames, clip_model)

    def learner(self) -> nn.Module:
        """Return the adapters: checkpoints hold no CLIP weights."""
        return self.model.adapter_learner

    def loss(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return cross-entropy."""
        return F.cross_entropy(self.model(image), label), {}
