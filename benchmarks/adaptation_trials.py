"""Tries other ways to train the adapted image side, on held-out halves of the base classes.

    python -m benchmarks.adaptation_trials 96 kl=1 average=0.99 layer=2 tokens=4 crop=.8

What is tried, one at a time beside the default (`patch`, 32 views x 3, token weight 1):

- `kl=W`: W times the divergence from alpha's class distribution to beta's, over the base names.
- `average=M`: the updates are averaged over the steps, with momentum M, and the average is tested.
- `first=N`: the positions alone learn in the first N of the passes over all views.
- `layer=L`: the token loss compares what block L reads (the last block by default; 0: the first).
- `kernel=1`: the kernel begins as alpha's on the enlarged picture, averaged over beta's patch.
- `tokens=N`: N learned tokens more, which every block reads; a test then costs these tokens.
- `attention=W`: W times the divergence from what alpha's class token attends to in the last block
  to what beta's does, mean over heads, over the areas of beta's patches.
- `crop=S`: views are crops of at least the share S of a picture's area (.5, as the recipe has).

Halves, pictures, tests and the file of the lines are those of `select_adaptation`. `kind`, `views`
and other settings can be named beside them: `kl=1,kind=lora`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.select_adaptation import Trials, read_settings
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.shards import Shard, Shards
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.train import Distillation
from loreal_plugin.config import with_settings
from loreal_plugin.method.adaptation import Adaptation, place_of
from loreal_plugin.students.share import share_clip_tensors

SCALE = 100.0  # CLIP's factor of the cosines
DEFAULT = "kind=patch"


@dataclass(frozen=True)
class Way:
    """What differs from the training that the package has; zeros: nothing."""

    kl: float = 0.0
    average: float = 0.0
    first: int = 0
    layer: int = -1
    kernel: int = 0
    tokens: int = 0
    attention: float = 0.0
    crop: float = 0.0


class TrialTower(Tower):
    """A tower that compares the rows of a block of choice, and remembers its last features.

    With `attention`, each patch token has a further number: what the class token attends to there.
    """

    def __init__(self, student: Any, layer: int, attention: bool = False) -> None:
        super().__init__(student)
        if layer >= 0:
            blocks, _, norm = self.parts.last_norm.rsplit(".", 2)
            self._norm = student.model.get_submodule(f"{blocks}.{layer}.{norm}")
        self.attention = student.contract.image_attention(student.model)[-1] if attention else None
        self.features = self.attended = torch.empty(0)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Tower.encode` returns."""
        normed: list[Tensor] = []
        handle = self._norm.register_forward_hook(lambda _, __, out: normed.append(out))
        try:
            self.features, tokens = super().encode(images)
        finally:
            handle.remove()
        if self.attention is None:
            return self.features, tokens
        self.attended = attended_patches(self.attention, normed[0], tokens.shape[1])
        return self.features, torch.cat([tokens, self.attended[..., None]], dim=-1)


class TrialDistillation(Distillation):
    """A training with a further loss, or an average of what it learned."""

    def __init__(
        self,
        beta: TrialTower,
        adaptation: Adaptation,
        shards: Shards,
        settings: AdaptSettings,
        way: Way,
        text: Tensor,
    ) -> None:
        super().__init__(beta, adaptation, shards, settings)
        self.tower, self.way, self.text = beta, way, text
        self.averages = [p.detach().clone() for p in adaptation.parameters()]

    def _loss(self, shard: Shard, batch: Tensor, size: int) -> Tensor:
        loss = super()._loss(shard, batch, size)
        if self.way.kl:
            divergence = class_divergence(self.tower.features, shard.features[batch], self.text)
            loss = loss + self.way.kl * divergence
        if self.way.attention:
            wanted = shard.tokens[size][batch][..., -1].float()
            divergence = attention_divergence(self.tower.attended, wanted)
            loss = loss + self.way.attention * divergence
        return loss

    @property
    def deviations(self) -> list[Tensor]:
        """Return what `Distillation.deviations` returns; attention is not among the tokens."""
        found = super().deviations
        if self.way.attention:
            for deviation in found:
                deviation[-1] = torch.inf
        return found

    def _step(self, shard: Shard, batch: Tensor, size: int) -> Tensor:
        loss = super()._step(shard, batch, size)
        for average, parameter in zip(self.averages, self.adaptation.parameters(), strict=True):
            average.lerp_(parameter.detach(), 1 - self.way.average)
        return loss

    def finish(self) -> None:
        """Put the averages in the place of what was learned last, where they are asked for."""
        if self.way.average:
            for average, parameter in zip(self.averages, self.adaptation.parameters(), strict=True):
                parameter.data.copy_(average)


def class_divergence(beta: Tensor, alpha: Tensor, text: Tensor) -> Tensor:
    """Return the mean divergence from alpha's class distribution to beta's.

    Args:
        beta: embeddings (B, F, D_v) that learn.
        alpha: embeddings of the same pictures, (B, F, D_v).
        text: text features of the classes, (C, D_v).
    """
    of_beta = F.log_softmax(SCALE * beta[:, 0].float() @ text.float().t(), dim=-1)
    of_alpha = F.log_softmax(SCALE * alpha[:, 0].float() @ text.float().t(), dim=-1)
    return F.kl_div(of_beta, of_alpha, reduction="batchmean", log_target=True)


def attended_patches(attention: nn.MultiheadAttention, rows: Tensor, count: int) -> Tensor:
    """Return the share of its attention that the class token gives each patch, (B, N).

    Shares are means over heads and add up to one over the patches.

    Args:
        attention: of a block.
        rows: what it reads, (T, B, D): the class token, N patches, what else there is.
        count: N.
    """
    query, key, _ = attention.in_proj_weight.chunk(3)
    query_bias, key_bias, _ = attention.in_proj_bias.chunk(3)
    heads = attention.num_heads
    asked = F.linear(rows[0], query, query_bias).unflatten(-1, (heads, -1))  # (B, H, D / H)
    keys = F.linear(rows[1 : 1 + count], key, key_bias).unflatten(-1, (heads, -1))
    scores = torch.einsum("bhd,nbhd->bhn", asked, keys) / asked.shape[-1] ** 0.5
    return scores.softmax(-1).mean(1)


def attention_divergence(beta: Tensor, alpha: Tensor) -> Tensor:
    """Return the mean divergence from alpha's shares of patches to beta's, each (B, N).

    Alpha's are means over the areas of beta's patches; they are made to add up to one.
    """
    wanted = alpha / alpha.sum(-1, keepdim=True)
    return F.kl_div(beta.log(), wanted, reduction="batchmean")


def averaged_kernel(kernel: Tensor, size: int, native: int) -> Tensor:
    """Return the kernel (D, 3, p, p) that does at `size` what the given one does enlarged.

    A picture of `size` pixels is enlarged to `native`, embedded, and averaged over the areas of
    its own patches. That is linear in the pixels; the kernel is its part for the pixels of the
    patch itself, at a patch in the middle.
    """
    patch = kernel.shape[-1]
    grid = size // patch
    at = grid // 2

    def embedded(pixels: Tensor) -> Tensor:
        shown = torch.zeros(1, 3, size, size)
        place = slice(at * patch, (at + 1) * patch)
        shown[:, :, place, place] = pixels
        large = F.interpolate(shown, (native, native), mode="bicubic", align_corners=False)
        return F.adaptive_avg_pool2d(F.conv2d(large, kernel, stride=patch), grid)[0, :, at, at]

    return torch.autograd.functional.jacobian(embedded, torch.zeros(3, patch, patch)).detach()


def append_tokens(model: nn.Module, number: int, width: int, seed: int) -> nn.Parameter:
    """Let an image encoder read learned rows (number, D) behind its own; return them."""
    drawn = torch.randn(number, width, generator=torch.Generator().manual_seed(seed))
    rows = nn.Parameter(0.02 * drawn)

    def longer(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        learned = rows[:, None].expand(-1, args[0].shape[1], -1)
        return (torch.cat([args[0], learned]), *args[1:])

    model.get_submodule("image_encoder.transformer").register_forward_pre_hook(longer)
    return rows


class WayTrials(Trials):
    """Trials of other ways to train."""

    def __init__(self, phi: int, seed: int) -> None:
        super().__init__(phi, seed)
        self.plain = self.cfg  # what trials change

    def way(self, settings: AdaptSettings, way: Way) -> dict[str, Any]:
        """Return what one training in another way gives."""
        beta = self.student("base", self.phi, settings.enlarge)
        share_clip_tensors(self.alpha, beta)
        if way.kernel:
            self._start_kernel(beta.model)
        attends = way.attention > 0
        teacher, pupil = (TrialTower(s, way.layer, attends) for s in (self.alpha, beta))
        self.cfg = with_settings(self.plain, {"INPUT.RRCROP_SCALE": (way.crop or 0.5, 1.0)})
        self.ingredients = {"layer": way.layer} if way.layer >= 0 else {}
        self.ingredients |= {"attention": "class token, last block"} if attends else {}
        self.ingredients |= {"crop": way.crop} if way.crop else {}
        shards = self.shards(teacher, pupil, settings, (), [self.phi])
        start = time.process_time()
        steps, count, loss = 0, 0, 0.0
        for part in parts(settings, way):
            adaptation = adapt(beta, part)
            training = TrialDistillation(pupil, adaptation, shards, part, way, self.text["base"])
            if way.tokens:
                width = self.alpha.model.get_parameter(pupil.parts.positions).shape[1]
                rows = append_tokens(beta.model, way.tokens, width, settings.seed)
                training.optimizer.add_param_group({"params": [rows]})
            loss = [progress.loss for progress in training.run()][-1]
            training.finish()
            adaptation.merge()
            steps += training.steps
            count = sum(value.numel() for value in adaptation.state().values())
        seconds = round(time.process_time() - start, 1)
        told = {"steps": steps, "parameters": count, "loss": loss, "processor_seconds": seconds}
        return {**told, **self.score(beta)}

    def _start_kernel(self, model: nn.Module) -> None:
        module, name = place_of(model, "image_encoder.conv1.weight")
        native = self.engine.plan.native_size
        kernel = averaged_kernel(getattr(module, name).detach().float(), self.phi, native)
        setattr(module, name, nn.Parameter(kernel, requires_grad=False))


def parts(settings: AdaptSettings, way: Way) -> list[AdaptSettings]:
    """Return the trainings that follow one another: one, or the positions first."""
    if not way.first:
        return [settings]
    first = replace(settings, kind="positions", epochs=way.first)
    return [first, replace(settings, epochs=settings.epochs - way.first)]


def read_way(text: str, seed: int) -> tuple[AdaptSettings, Way]:
    """Return settings and way of one trial, `name=value,name=value`."""
    own = {field.name: field.type for field in fields(Way)}
    pairs = [pair.split("=", 1) for pair in text.split(",") if pair]
    asked = {name: float(value) for name, value in pairs if name in own}
    rest = [f"{name}={value}" for name, value in pairs if name not in own]
    whole = {name: value if own[name] == "float" else int(value) for name, value in asked.items()}
    return read_settings(",".join([DEFAULT, *rest]), seed), Way(**whole)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phi", type=int)
    parser.add_argument("trials", nargs="+", help="ways as name=value,name=value; `-`: the default")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    out = Path(os.environ.get("OUT", "output")) / "adaptation.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    trials = WayTrials(args.phi, args.seed)
    for text in args.trials:
        settings, way = read_way("" if text == "-" else text, args.seed)
        found = trials.way(settings, way)
        line = {"phi": args.phi, "way": asdict(way), "settings": settings.facts(), **found}
        print(json.dumps(line), flush=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
