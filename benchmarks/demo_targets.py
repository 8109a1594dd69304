"""Zero-shot accuracy on the demonstration world's target worlds at four input sizes, as a table.

    python -m benchmarks.demo_targets --pictures 320 --write docs/WORLD.md

A quick look at a few pictures of every class, straight from the drawing;
`loreal zero_shot PHI NAME` tests all 1200 of a target from their files.
"""

from __future__ import annotations

import argparse

import torch
from PIL import Image
from torch import nn

from benchmarks.demo_world.checker import RESOLUTIONS, load_check_model
from benchmarks.demo_world.features import BATCH, encode_images, resize
from loreal_plugin.cli.results import deliver
from loreal_plugin.data.templates import DEFAULT_TEMPLATE
from loreal_plugin.demo.targets import TargetWorld, target_worlds
from loreal_plugin.weights import import_clip


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", default=list(target_worlds()), help="target worlds (default: all)"
    )
    parser.add_argument("--weights", default="demo")
    parser.add_argument(
        "--pictures", type=int, default=320, help="about so many a target, equally many a class"
    )
    parser.add_argument("--write", metavar="FILE", help="replace the part 'targets' of a document")
    args = parser.parse_args()
    model = load_check_model(args.weights)
    sizes = " | ".join(map(str, RESOLUTIONS))
    lines = [f"| target | pictures | {sizes} |", "|---|---:|" + "---:|" * len(RESOLUTIONS)]
    for name in args.names:
        count, scores = accuracies(model, target_worlds()[name], args.pictures)
        lines.append(f"| `{name}` | {count} | {' | '.join(f'{score:.1f}' for score in scores)} |")
        print(lines[-1], flush=True)
    deliver("\n".join(lines), args.write, "targets")


@torch.no_grad()
def accuracies(model: nn.Module, world: TargetWorld, pictures: int) -> tuple[int, list[float]]:
    """Return how many pictures were looked at and the accuracy in percent at each size."""
    classes = range(len(world.classnames))
    keys = [
        (label, index) for label in classes for index in range(max(1, pictures // len(classes)))
    ]
    drawn = [Image.fromarray(world.draw(*key)) for key in keys]
    labels = torch.tensor([label for label, _ in keys])
    texts = model.encode_text(
        import_clip().tokenize([DEFAULT_TEMPLATE.format(name) for name in world.classnames])
    )
    texts = texts / texts.norm(dim=-1, keepdim=True)
    scores = []
    for size in RESOLUTIONS:
        parts = [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
        features = torch.cat(
            [
                encode_images(model, torch.stack([resize(one, size) for one in part]))
                for part in parts
            ]
        )
        scores.append(100 * (features @ texts.T).argmax(1).eq(labels).float().mean().item())
    return len(drawn), scores


if __name__ == "__main__":
    main()
