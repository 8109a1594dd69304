"""Scores as a table, a picture, and a choice of K words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from loreal_plugin.errors import MiningError
from loreal_plugin.mining.attribute_file import AttributeFile
from loreal_plugin.mining.score import NO_WORD, WordScore
from loreal_plugin.mining.words import word_faults
from loreal_plugin.plain_output import counted


def format_scores(
    scores: Sequence[WordScore], kinds: dict[str, str], native_size: int, phi: int
) -> str:
    """Return the table, best word first, the texts without a word last.

    Args:
        kinds: word -> `attribute`, `rejected` or `asked`.
    """
    base = next(s for s in scores if s.word == NO_WORD)

    def numbers(s: WordScore) -> tuple[str, ...]:
        read = (
            ("", "") if s.reading is None else (f"{s.reading:.3f}", f"{100 * s.same_value:.0f} %")
        )
        return *read, f"{s.native:.3f}", f"{s.phi:.3f}", f"{100 * s.kept:.0f} %"

    rows = [
        (i, s.word, kinds[s.word], *numbers(s), f"{s.phi - base.phi:+.3f}")
        for i, s in enumerate((s for s in scores if s.word != NO_WORD), start=1)
    ]
    rows.append(("", "(no word)", "", *numbers(base), ""))
    headers = (
        "rank",
        "word",
        "is",
        "reading",
        "same value",
        f"margin at {native_size}",
        f"margin at {phi}",
        "kept",
        "over no word",
    )
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)


def choose_words(
    scores: Sequence[WordScore], file: AttributeFile, classnames: Sequence[str], k: int
) -> list[str]:
    """Return the first `k` of the ranked words that may be attributes.

    Raises:
        MiningError: there are fewer.
    """
    chosen: list[str] = []
    for score in scores:
        if score.word == NO_WORD:
            continue
        if not word_faults([*chosen, score.word], classnames=classnames, domain=file.words.domain):
            chosen.append(score.word)
        if len(chosen) == k:
            return chosen
    raise MiningError(
        f"{counted(k, 'attribute')} to be chosen, only {counted(len(chosen), 'candidate')} may be"
        " one"
    )


def chosen_content(
    file: AttributeFile, chosen: Sequence[str], scores: Sequence[WordScore], how: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of a file with the chosen attributes; what was left out moves to
    `rejected`.

    Args:
        how: what the scores were measured on; kept in the file beside them.
    """
    by_word = {s.word: s for s in scores}
    reasons = dict(file.content.get("reasons") or {})
    left = [word for word in file.words.words if word not in chosen]
    rejected = {w: r for w, r in file.rejected.items() if w not in chosen}
    rejected |= {
        w: f"{_measured(by_word[w], how)}; not among the {len(chosen)} chosen" for w in left
    }
    return file.content | {
        "attributes": list(chosen),
        "reasons": {w: reasons.get(w) or _measured(by_word[w], how) for w in chosen},
        "rejected": rejected,
        "scores": {**how, "words": {s.word: _rounded(s) for s in scores}},
    }


def _measured(score: WordScore, how: dict[str, Any]) -> str:
    """Return a score in words."""
    margin = f"class margin {score.phi:.3f} at {how['phi']} pixels"
    return margin if score.reading is None else f"reading {score.reading:.3f}, {margin}"


def _rounded(score: WordScore) -> dict[str, float]:
    numbers = {
        "margin_native": score.native,
        "margin_phi": score.phi,
        "reading": score.reading,
        "same_value": score.same_value,
    }
    return {name: round(value, 4) for name, value in numbers.items() if value is not None}


def plot_scores(scores: Sequence[WordScore], native_size: int, phi: int, path: Path) -> None:
    """Draw readings, and margins at both sizes, of every word as a PNG.

    Raises:
        MiningError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [s for s in scores if s.word != NO_WORD][::-1]
    base = next(s for s in scores if s.word == NO_WORD)
    read = any(s.reading is not None for s in shown)
    figure = Figure(figsize=(10 if read else 7, 1.4 + 0.36 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if read else 1, sharey=True, squeeze=False)[0]
    places = range(len(shown))
    if read:
        panels[0].barh(places, [s.reading or 0.0 for s in shown], height=0.6, color="#1f4e79")
        panels[0].set_xlabel(f"reading: correlation of {native_size} and {phi} px")
    for shift, size, color, values in (
        (0.2, native_size, "#9ab8d8", [s.native for s in shown]),
        (-0.2, phi, "#1f4e79", [s.phi for s in shown]),
    ):
        panels[-1].barh(
            [p + shift for p in places], values, height=0.38, color=color, label=f"{size} px"
        )
    panels[-1].axvline(
        base.phi, color="black", linestyle=":", linewidth=1, label=f"no word, {phi} px"
    )
    panels[0].set_yticks(list(places), [s.word for s in shown])
    panels[-1].set_xlabel("class margin (standard deviations)")
    panels[-1].legend(loc="lower right", fontsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise MiningError(f"plot {path} cannot be written: {error.strerror}") from error
