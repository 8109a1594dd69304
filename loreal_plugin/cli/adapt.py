"""`loreal adapt`: a CLIP that sees at PHI, from unlabelled pictures alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from loreal_plugin.plain_output import say_line

TEXT = "make a CLIP that sees at PHI, from unlabelled pictures alone"
EPILOG = """\
The CLIP at its native size teaches the same CLIP at PHI on crops of the pictures; nothing else is
learned, and no class is named. FILE is then a CLIP whose native size is PHI: its image side is new,
its text side as it was. This is ours, not the paper's.

Of several sizes, each batch is read at one, drawn at random. FILE then has the largest as native
size; at the others it is used as any CLIP is, with PHI.

FOLDER has pictures of any kind, at any depth, or tar files of them (shards of WebDataset). The same
command goes on where it was interrupted. Memory does not grow with the number of pictures. `loreal`
takes FILE as CLIP_WEIGHTS.

Several devices: torchrun --nproc-per-node 4 -m loreal_plugin adapt ... gives the same result, up to
the order in which numbers are added.

examples:
  loreal adapt --weights ViT-B/16 --phi 96 --pictures ~/Pictures --out ViT-B-16-at-96.safetensors
  loreal adapt --phi 96 --pictures photos --out clip-96 --format hf --views 8 --epochs 1
  loreal adapt --phi 96,144,192 --pictures photos --out clip-96-to-192.safetensors
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "adapt",
        usage="loreal adapt [--weights W] --phi PHI --pictures FOLDER --out FILE [options]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("--weights", help="CLIP weights: a name or a file (CLIP_WEIGHTS; ViT-B/16)")
    sizes = "side of the small pictures in pixels; several (96,144,192) make one CLIP for all"
    add("--phi", required=True, help=sizes)
    add("--pictures", metavar="FOLDER", required=True, help="unlabelled pictures")
    add("--out", metavar="FILE", required=True, help=".safetensors or .pt; a folder for --format")
    add("--format", default="openai", help="openai (a file), hf or open_clip (a folder) (openai)")
    add("--kind", default="patch_lora", help="positions, patch, lora or patch_lora (patch_lora)")
    add("--rank", type=int, default=8, help="of the low-rank updates (8)")
    add("--views", type=int, default=32, help="crops of a picture (32)")
    add("--epochs", type=int, default=3, help="passes over all crops of all pictures (3)")
    add("--lr", type=float, default=3e-3, help="highest learning rate (0.003)")
    add("--batch", type=int, default=32, help="pictures a step, over all processes (32)")
    add("--seed", type=int, default=1, help="whole number (1)")
    add("--crop", type=float, default=0.5, help="least share of a picture in a crop (0.5)")
    add("--accumulate", type=int, default=1, help="parts of a batch, for less memory (1)")
    add("--precision", default="auto", help="fp32, bf16, or auto: bf16 on CUDA (auto)")
    add("--keep-targets", action="store_true", help="keep what the teacher says in LOREAL_CACHE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write the CLIP, and print what was written."""
    import os

    from loreal_plugin.adapt.clip_at_phi import adapt_clip
    from loreal_plugin.adapt.ranks import ranks_of_environment
    from loreal_plugin.adapt.settings import AdaptSettings
    from loreal_plugin.adapt.tower_plan import TowerPlan, read_sizes

    settings = AdaptSettings(
        kind=args.kind,
        rank=args.rank,
        views=args.views,
        epochs=args.epochs,
        lr=args.lr,
        batch=args.batch,
        seed=args.seed,
    )
    phi, *smaller = read_sizes(args.phi)
    plan = TowerPlan(
        weights=args.weights or os.environ.get("CLIP_WEIGHTS") or "ViT-B/16",
        phi=phi,
        smaller=tuple(smaller),
        pictures=Path(args.pictures),
        out=Path(args.out).expanduser(),
        layout=args.format,
        settings=settings,
        crop=args.crop,
        accumulate=args.accumulate,
        precision=args.precision,
        keep_targets=args.keep_targets,
    )
    with ranks_of_environment() as ranks:
        facts = adapt_clip(plan, say_line, ranks)
    if ranks.first:
        print(_summary(plan.out.parent / facts["file"], facts))
    return 0


def _summary(file: Path, facts: dict[str, Any]) -> str:
    """Return what was written, and how near it is to the teacher at each size."""
    sizes = [facts["phi"], *facts.get("smaller", ())]
    before, now = (facts.get(f"cosines_{w}", [facts[f"cosine_{w}"]]) for w in ("before", "after"))
    alike = "; ".join(
        f"at {size} {was:.3f} before, {found:.3f} now"
        for size, was, found in zip(sizes, before, now, strict=True)
    )
    return (
        f"{file}: {facts['weights']} for {facts['phi']} x {facts['phi']} pixels"
        f" ({facts['bytes'] / 2**20:.0f} MiB, {facts['parameters']:,} numbers trained on"
        f" {facts['pictures']:,} pictures in {facts['seconds']:.0f} s)\n"
        f"mean cosine with the embeddings at the native size: {alike}"
    )
