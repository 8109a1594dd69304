"""One PNG a picture: what the models read, where they look, what they and the slots answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from loreal_plugin.explain.explanation import Explanation, Prediction, Slot
from loreal_plugin.files import write_bytes
from loreal_plugin.plain_output import shown

DPI = 100
RIGHT, WRONG, PLAIN = "#2a7f4f", "#b5483a", "#7a8794"
BARS = {"mean": "#3b6ea5", "neutral": "#e0a458"}
STAND_IN_TEXT = {"mean": "its training mean", "neutral": 'the word "some"'}
LONGEST = 20  # letters of a class name beside a bar
EMPTY = 0.3  # of the page's height, at its end, where there are no slots


def save_page(explanation: Explanation, title: str, path: Path) -> None:
    """Draw an explanation into a PNG, whole or not at all.

    Args:
        title: which run it is.
        path: where the PNG goes.

    Raises:
        LorealError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 9, "axes.titlesize": 9.5}):
        figure = plt.figure(figsize=(13, 8.4))
        try:
            _draw(figure, explanation, title)
            content = png_bytes(figure, DPI, cut=0.0 if explanation.slots else EMPTY)
        finally:
            plt.close(figure)
    write_bytes(path, content)


def png_bytes(figure: Any, dpi: int, colours: int = 256, cut: float = 0.0) -> bytes:
    """Return a figure as a PNG with a palette: a third of the size, and text stays sharp.

    Args:
        cut: share of the height that is left out at the lower end.
    """
    from PIL import Image

    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=dpi, format="png", facecolor="white")
    # the other ways drop rare colours, such as those of a small legend
    kind, plain = Image.Quantize.MAXCOVERAGE, Image.open(drawn).convert("RGB")
    plain = plain.crop((0, 0, plain.width, round(plain.height * (1 - cut))))
    plain.quantize(colours, method=kind, dither=Image.Dither.NONE).save(
        content, "PNG", optimize=True
    )
    return content.getvalue()


def _draw(figure: Any, e: Explanation, title: str) -> None:
    """Put all panels on a figure."""
    native, phi = e.pictures
    name = shown(Path(e.path).name)
    name = f"{name}, class {e.label}" if e.label else name
    figure.text(0.03, 0.965, name, fontsize=14, weight="bold")
    figure.text(0.97, 0.965, title, fontsize=10, color="#444444", ha="right")
    for x, width, text in (
        (0.03, 0.36, f"at {native} x {native}"),
        (0.425, 0.555, f"at {phi} x {phi}"),
    ):
        figure.add_artist(_line(x, x + width, 0.91))
        figure.text(
            x + width / 2, 0.916, text, ha="center", va="bottom", fontsize=11, weight="bold"
        )
    lefts, width = (0.03, 0.225, 0.425, 0.62, 0.815), 0.165
    _draw_pictures(figure, e, lefts, width)
    # three answers stand below the maps of the models that give them
    places = lefts if len(e.predictions) == len(lefts) else (lefts[0], *lefts[3:])
    for x, prediction in zip(places, e.predictions, strict=True):
        _draw_prediction(figure.add_axes((x, 0.395, width, 0.155)), prediction, e.label)
    _draw_slots(figure, e)


def _line(x0: float, x1: float, y: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D((x0, x1), (y, y), color="#888888", linewidth=1)


def _draw_pictures(figure: Any, e: Explanation, lefts: tuple[float, ...], width: float) -> None:
    """Draw both pictures, and the attention maps over them."""
    native, phi = e.pictures
    adapted = "adapted" in e.predictions[-1].name
    below = f"adapted to {phi}" if adapted else f"trained at {phi}, and LOREAL"
    panels = (
        (native, None, "what the models read"),
        (native, "alpha", "where the encoder looks"),
        (phi, None, "what the models read"),
        (phi, "alpha_at_phi", f"looks: trained at {native}"),
        (phi, "beta", f"looks: {below}"),
    )
    for x, (size, key, text) in zip(lefts, panels, strict=True):
        axes = figure.add_axes((x, 0.615, width, 0.255))
        axes.set_axis_off()
        axes.set_title(text, pad=4)
        draw_picture(axes, e, size, key)
        if key is not None:
            heat = e.maps[key]
            axes.text(
                0.5,
                -0.03,
                f"strongest patch {100 * heat.max():.0f} %, all patches {100 * heat.sum():.0f} %",
                ha="center",
                va="top",
                fontsize=8,
                color="#444444",
            )


def draw_picture(axes: Any, e: Explanation, size: int, key: str | None) -> None:
    """Draw the picture of a size, in grey under the attention map `key` where one is named."""
    picture = e.pictures[size].numpy()
    if key is None:
        axes.imshow(picture, interpolation="nearest", extent=(0, 1, 0, 1))
        return
    axes.imshow(
        picture.mean(axis=2),
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(0, 1, 0, 1),
    )
    heat = e.maps[key].numpy()
    # a patch that is not looked at stays clear, the one that is looked at most is nearly covered
    share = heat / heat.max()
    axes.imshow(
        share,
        cmap="autumn_r",
        vmin=0,
        vmax=1,
        alpha=0.85 * share,
        interpolation="nearest",
        extent=(0, 1, 0, 1),
    )


def shortened(name: str) -> str:
    """Return a class name that fits beside a bar."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _draw_prediction(axes: Any, prediction: Prediction, label: str) -> None:
    """Draw the top classes as bars, the best on top; the true one green, a wrong best one red."""
    names, values = prediction.classes, [100 * p for p in prediction.probabilities]
    colours = [
        RIGHT if n == label else WRONG if label and i == 0 else PLAIN for i, n in enumerate(names)
    ]
    places = range(len(names), 0, -1)
    axes.barh(places, values, color=colours, height=0.72)
    for place, name, value in zip(places, names, values, strict=True):
        # a long bar has its text inside, a short one beside it
        inside = value > 60
        axes.text(
            2 if inside else value + 2,
            place,
            f"{shortened(name)}  {value:.0f} %",
            va="center",
            fontsize=9,
            color="white" if inside else "black",
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0.4, len(names) + 0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(prediction.name, loc="left", pad=5)


def _draw_slots(figure: Any, e: Explanation) -> None:
    """Draw the table of nearest words and the bars of leaving slots out."""
    native, phi = e.pictures
    if not e.slots:
        text = "No slot reads the picture: the prompts are the same for every picture (SLOT_PARTS)."
        figure.text(0.03, EMPTY + 0.03, text, fontsize=10)
        return
    figure.text(0.03, 0.33, "What the slots say", fontsize=11, weight="bold")
    figure.text(
        0.03, 0.308, "words nearest to each content, with their cosine", fontsize=9, color="#444444"
    )
    rows = [
        [slot.attribute, _words(e.slots[native][k]), _words(slot), _moves(slot)]
        for k, slot in enumerate(e.slots[phi])
    ]
    axes = figure.add_axes((0.03, 0.05, 0.57, 0.245))
    axes.set_axis_off()
    head = ["slot", f"at {native}", f"at {phi}", f"moves at {phi}"]
    table = axes.table(
        rows,
        colLabels=head,
        cellLoc="left",
        colLoc="left",
        edges="horizontal",
        colWidths=(0.13, 0.37, 0.37, 0.13),
        bbox=(0, 0, 1, 1),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9 if len(rows) < 8 else 7)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        cell.PAD = 0.02
        if row == 0:
            cell.set_text_props(weight="bold")
    note = (
        "moves: distance of a content from its training mean, in lengths of that mean (0: same for"
        " every picture)"
    )
    figure.text(0.03, 0.02, note, fontsize=8, color="#444444")
    _draw_drops(figure, e.slots[phi], e.predictions[-1].classes[0], phi)


def _words(slot: Slot) -> str:
    return ",  ".join(f"{word} {cosine:.2f}" for word, cosine in slot.words)


def _moves(slot: Slot) -> str:
    return "-" if slot.moves is None else f"{slot.moves:.3f}"


def _draw_drops(figure: Any, slots: tuple[Slot, ...], predicted: str, phi: int) -> None:
    """Draw by how much the predicted class's logit falls without each slot."""
    figure.text(0.65, 0.33, f"What the slots are worth at {phi}", fontsize=11, weight="bold")
    figure.text(
        0.65,
        0.308,
        f"fall of the logit of '{predicted}' where one content is replaced by",
        fontsize=9,
        color="#444444",
    )
    axes = figure.add_axes((0.72, 0.05, 0.255, 0.225))
    places = range(len(slots), 0, -1)
    from matplotlib.ticker import MaxNLocator

    kinds = [kind for kind in BARS if kind in slots[0].drop]
    for index, kind in enumerate(kinds):
        shift = 0.19 * (1 - 2 * index) if len(kinds) > 1 else 0
        axes.barh(
            [p + shift for p in places],
            [s.drop[kind] for s in slots],
            0.36,
            color=BARS[kind],
            label=STAND_IN_TEXT[kind],
        )
    axes.axvline(0, color="black", linewidth=0.8)
    furthest = max(0.1, *(abs(drop) for slot in slots for drop in slot.drop.values()))
    axes.set_xlim(-1.08 * furthest, 1.08 * furthest)
    axes.set_yticks(list(places), [slot.attribute for slot in slots])
    axes.set_ylim(0.4, len(slots) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.96), ncols=2, frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
