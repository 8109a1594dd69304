"""A plain CLIP at any input size: image and text features, without a host.

Shapes: B images, N texts, D_v joint embedding width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import transforms

from loreal_plugin.pictures import read_picture
from loreal_plugin.presets import PRESETS
from loreal_plugin.weights import describe, load_clip_state_dict
from loreal_plugin.weights.package import borrowed_clip
from loreal_plugin.weights.positions import resample_visual_

# CLIP's own pixel statistics.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BATCH = 32


class ClipModel:
    """Frozen CLIP weights under any name `loreal_plugin.weights` knows, in float32."""

    def __init__(self, weights: str, device: torch.device | str = "cpu") -> None:
        state = load_clip_state_dict(weights)
        self.native_size: int = describe(state)["resolution"]
        self.device = torch.device(device)
        with borrowed_clip() as clip:
            # build_model rounds to half precision and takes keys away:
            # it gets a copy, and the values come after.
            model = clip.model.build_model(dict(state)).float()
            self._tokenize = clip.tokenize
        model.load_state_dict({name: state[name].float() for name in model.state_dict()})
        self._model = model.requires_grad_(False).eval().to(self.device)
        self._visuals: dict[int, Any] = {}

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return L2-normalised features (N, D_v); a text beyond 77 tokens is cut."""
        parts = []
        for start in range(0, len(texts), 4 * _BATCH):
            tokens = self._tokenize(list(texts[start : start + 4 * _BATCH]), truncate=True)
            parts.append(F.normalize(self._model.encode_text(tokens.to(self.device)), dim=-1).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def encode_pictures(
        self, paths: Sequence[str], size: int, progress: Callable[[int], None] = lambda n: None
    ) -> Tensor:
        """Return L2-normalised features (B, D_v) of picture files read at `size` pixels.

        Raises:
            DataError: a picture cannot be read.
        """
        if size not in self._visuals:
            visual, chosen = copy.deepcopy(self._model.visual), PRESETS["default"]
            resample_visual_(visual, size, chosen["position_resampling"])
            self._visuals[size] = visual.to(self.device)
        view = transforms.Compose(
            [
                transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(_MEAN, _STD),
            ]
        )
        parts = []
        for start in range(0, len(paths), _BATCH):
            part = paths[start : start + _BATCH]
            images = torch.stack([view(read_picture(path)) for path in part])
            parts.append(F.normalize(self._visuals[size](images.to(self.device)), dim=-1).cpu())
            progress(len(images))
        return torch.cat(parts)
