"""Draws the README's picture: drawings at both sizes, and what two models say at phi.

    python -m benchmarks.front_picture RUN --to docs/pictures/front.png

RUN is the folder of a finished run with the adapted image side (`bash
scripts/loreal/base2new_train.sh maple 96`). Pictures are chosen by a rule: of the first five new
classes, which no training saw, the first test picture each that exactly one of the two models at
phi gets right. How often which of them is right alone, and the accuracies in the picture, are over
all test pictures of the new classes, from the run's record; the command prints them.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from loreal_plugin.explain.runs import OpenRun, open_run
from loreal_plugin.files import write_bytes
from loreal_plugin.results.answers import decode_hits

COLUMNS = 5
PLACE, GAP = 288, 14  # sides in pixels: a picture at 96 is shown three times as large
HEAD, LINE = 70, 54  # heights of a line of text
RIGHT, WRONG, PLAIN, BAND = "#1f7a48", "#b03a2e", "#1c2733", "#e8edf2"
COLOURS = 128  # of the palette
ROWS = ("native", "native_at_phi", "adapted")  # names of rows in the record


@dataclass(frozen=True)
class Shown:
    """One test picture.

    Attributes:
        label: its class.
        pictures: what models read, (S, S, 3) of bytes, at the native size and at phi.
        said: classes that the plain model names at the native size and at phi, and the adapted
            student at phi.
    """

    label: str
    pictures: tuple[np.ndarray, np.ndarray]
    said: tuple[str, str, str]


@dataclass(frozen=True)
class Scores:
    """Which of N test pictures of the new classes three models get right, in their order.

    Attributes:
        native: the plain model at the native size.
        plain: the same at phi.
        adapted: the adapted student at phi.
    """

    native: list[bool]
    plain: list[bool]
    adapted: list[bool]

    def first_apart(self, labels: Sequence[int], classes: int) -> list[int]:
        """Return for the classes 0 .. `classes` - 1 the first picture that one model gets right."""
        pairs = zip(labels, self.plain, self.adapted, strict=True)
        apart = [label if plain != adapted else -1 for label, plain, adapted in pairs]
        return [apart.index(label) for label in range(classes)]

    def percent(self) -> list[float]:
        """Return the three accuracies in percent."""
        return [100 * sum(hits) / len(hits) for hits in (self.native, self.plain, self.adapted)]

    def alone(self) -> tuple[int, int]:
        """Return how many pictures the plain, and the adapted model alone gets right."""
        pairs = list(zip(self.plain, self.adapted, strict=True))
        return pairs.count((True, False)), pairs.count((False, True))


def scores_of(record: dict[str, Any]) -> Scores:
    """Return the scores on new classes from a run's record."""
    rows = {row["name"]: row["new"] for row in record["rows"]}
    hits = [decode_hits(rows[n]["hits"], rows[n]["total"]) for n in ROWS]
    return Scores(*([bool(hit) for hit in each] for each in hits))


@torch.no_grad()
def chosen_pictures(run: OpenRun, scores: Scores) -> list[Shown]:
    """Return the pictures that the rule chooses, with the models' answers."""
    items, names = run.items("test"), run.deployed.classnames
    shown = []
    for place in scores.first_apart([item.label for item in items], COLUMNS):
        item = items[place]
        native, low = run.pixels(item.impath, run.native_size), run.pixels(item.impath, run.phi)
        logits = (
            run.alpha.host_logits(run.alpha.encode_image(native)),
            run.alpha_at_phi.host_logits(run.alpha_at_phi.encode_image(low)),
            run.model.predict(run.model.embed(low)),
        )
        colours = [(255 * run.shown(x)).round().byte().numpy() for x in (native, low)]
        said = [names[int(each.argmax())] for each in logits]
        shown.append(Shown(names[item.label], tuple(colours), tuple(said)))
    return shown


def draw(shown: Sequence[Shown], heads: Sequence[str]) -> Image.Image:
    """Return the picture: drawings at the native size, the same at phi, and the answers there.

    Below a drawing at the native size stands its class, with a mark for the plain model's answer.

    Args:
        heads: what stands over the drawings at the native size, over those at phi, and over the
            answers of the plain model and of the adapted student there.
    """
    width = len(shown) * (PLACE + GAP) + GAP
    height = 4 * HEAD + 3 * LINE + 2 * (PLACE + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, y = ImageDraw.Draw(sheet), 0
    for head, kind in zip(heads, ("native", "phi", "plain", "adapted"), strict=True):
        pen.rectangle((0, y, width, y + HEAD - 12), BAND)
        pen.text((GAP, y + (HEAD - 12) / 2), head, PLAIN, _font(38, bold=True), anchor="lm")
        y += HEAD
        for column, one in enumerate(shown):
            x = GAP + column * (PLACE + GAP)
            if kind in ("native", "phi"):
                sheet.paste(_enlarged(one.pictures[kind == "phi"]), (x, y))
            if kind != "phi":
                below = PLACE + GAP if kind == "native" else 0
                said = one.said[("native", "plain", "adapted").index(kind)]
                told = one.label if kind == "native" else said
                _answer(pen, (x + PLACE / 2, y + below + 18), told, said == one.label)
        y += {"native": PLACE + GAP + LINE, "phi": PLACE + GAP}.get(kind, LINE)
    return sheet


def _enlarged(picture: np.ndarray) -> Image.Image:
    """Return a picture at the side at which it is shown; small ones keep their pixels visible."""
    image = Image.fromarray(picture)
    whole = PLACE % image.width == 0
    return image.resize((PLACE, PLACE), Image.Resampling.NEAREST if whole else 3)


def _answer(pen: ImageDraw.ImageDraw, place: tuple[float, float], name: str, right: bool) -> None:
    """Write a class, and whether the model is right, also for those who see no green."""
    text = f"{name} {'✓' if right else '✗'}"
    pen.text(place, text, RIGHT if right else WRONG, _font(38, bold=not right), anchor="mm")


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib."""
    from matplotlib.font_manager import FontProperties, findfont

    wanted = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(findfont(wanted), size)


def png(sheet: Image.Image) -> bytes:
    """Return a picture as a PNG with a palette."""
    content = io.BytesIO()
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    """Draw the picture and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run with the adapted row")
    parser.add_argument("--to", type=Path, default=Path("docs/pictures/front.png"))
    given = parser.parse_args()
    run = open_run(given.run, classes="new", row="adapted")
    scores = scores_of(run.record)
    shown, host = chosen_pictures(run, scores), run.host_trainer
    native, plain, adapted = (f"{share:.0f} %" for share in scores.percent())
    heads = (
        f"True class, and {host} at {run.native_size} ({native} right)",
        f"The same drawings at {run.phi} x {run.phi}",
        f"{host} at {run.phi} says ({plain} right)",
        f"Adapted image side at {run.phi} says ({adapted} right)",
    )
    content = png(draw(shown, heads))
    write_bytes(given.to, content)
    for one in shown:
        print(one.label, *one.said, sep="\t")
    print("right alone: plain {}, adapted {}".format(*scores.alone()), f"of {len(scores.plain)}")
    print(f"{given.to}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
