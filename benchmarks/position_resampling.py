"""Compares ways of resampling the image positional embedding, zero-shot, on held-out pictures.

    python -m benchmarks.position_resampling --weights demo demo-2

Pictures are the train and val pools of the demonstration's base classes; nothing is trained, and no
picture of a new class and no test picture is read. `base` and `new` are the halves of the base
classes, each classified among its own names, as in the data set `demo-heldout`. A difference is
between hits of the same pictures, and so is its standard error. `cosine` is the mean cosine of a
picture's feature with that of the same picture at the native size: it needs no label.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms

from loreal_plugin.contract.base import HostModel
from loreal_plugin.data.demo import demo_root
from loreal_plugin.data.templates import template_of
from loreal_plugin.demo.pictures import ensure_pictures, list_items
from loreal_plugin.demo.world import BASE_CLASSES
from loreal_plugin.results.record import harmonic_mean
from loreal_plugin.runs.zero_shot import clip_at
from loreal_plugin.weights import describe, import_clip, load_clip_state_dict
from loreal_plugin.weights.positions import RESAMPLINGS

BATCH = 64
REFERENCE = "bicubic"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Pictures:
    """N pictures of the base classes: paths, labels (N,) and the names of the labels."""

    paths: list[str]
    labels: Tensor
    names: list[str]


def held_out() -> Pictures:
    """Return train and val pictures of the world's base classes."""
    root = demo_root("")
    ensure_pictures(root)
    pools = list_items(root)
    rows = [row for part in ("train", "val") for row in pools[part] if row[1] in BASE_CLASSES]
    names = {label: name for _, label, name in rows}
    order = sorted(names)
    labels = torch.tensor([order.index(label) for _, label, _ in rows])
    return Pictures([str(path) for path, _, _ in rows], labels, [names[label] for label in order])


@torch.no_grad()
def image_features(model: HostModel, paths: list[str], size: int) -> Tensor:
    """Return L2-normalised features (N, D_v) of pictures read at `size` pixels."""
    bicubic = transforms.InterpolationMode.BICUBIC
    steps = [transforms.Resize(size, interpolation=bicubic), transforms.CenterCrop(size)]
    view = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    found = []
    for start in range(0, len(paths), BATCH):
        batch = [view(Image.open(path).convert("RGB")) for path in paths[start : start + BATCH]]
        found.append(F.normalize(model.encode_image(torch.stack(batch)), dim=-1))
    return torch.cat(found)


@torch.no_grad()
def class_features(model: HostModel, names: list[str]) -> Tensor:
    """Return the text features (C, D_v) of class names in the demo's own prompt."""
    prompts = [template_of("Demo").format(name) for name in names]
    return F.normalize(model.encode_text(import_clip().tokenize(prompts)), dim=-1)


def hits(images: Tensor, texts: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return which pictures (N_half,) of each half are right among the names of their half."""
    half = (len(texts) + 1) // 2
    found = {}
    for name, low, high in (("base", 0, half), ("new", half, len(texts))):
        mine = (labels >= low) & (labels < high)
        best = (images[mine] @ texts[low:high].T).argmax(1) + low
        found[name] = (best == labels[mine]).double()
    return found


def row(name: str, found: dict[str, Tensor], reference: dict[str, Tensor], cosine: float) -> str:
    """Return a line of the table: accuracies in percent, the difference with its standard error."""
    base, new = (100 * float(found[half].mean()) for half in ("base", "new"))
    change = 100 * torch.cat([found[half] - reference[half] for half in found])
    error = float(change.std(correction=1)) / len(change) ** 0.5
    told = f"{float(change.mean()):+.1f} ± {error:.1f}" if name != REFERENCE else "-"
    halves = f"{base:.1f} | {new:.1f} | {harmonic_mean(base, new):.1f}"
    return f"| `{name}` | {halves} | {told} | {cosine:.3f} |"


def compare(weights: str, size: int, pictures: Pictures) -> list[str]:
    """Return the table's lines of one CLIP at one size, the reference first."""
    native = describe(load_clip_state_dict(weights))["resolution"]
    standard = image_features(clip_at(weights, native, REFERENCE), pictures.paths, native)
    texts = class_features(clip_at(weights, native, REFERENCE), pictures.names)
    lines, reference = [], hits(standard, texts, pictures.labels)
    lines.append(row(f"at {native}", reference, reference, 1.0))
    for name in RESAMPLINGS:
        seen = image_features(clip_at(weights, size, name), pictures.paths, size)
        found = hits(seen, texts, pictures.labels)
        reference = found if name == REFERENCE else reference
        lines.append(row(name, found, reference, float((seen * standard).sum(1).mean())))
    return lines


def main() -> None:
    """Print one table for each CLIP and size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", nargs="+", default=["demo"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 144, 192])
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = held_out()
    for weights in args.weights:
        for size in args.sizes:
            print(f"\n{weights} at {size}, {len(pictures.paths)} pictures\n")
            print("| resampling | base | new | HM | difference of accuracy | cosine |")
            print("|---|---:|---:|---:|---:|---:|")
            print("\n".join(compare(weights, size, pictures)), flush=True)


if __name__ == "__main__":
    main()
