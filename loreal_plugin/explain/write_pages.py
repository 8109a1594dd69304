"""What `loreal explain` and `loreal embed` do: open the run, choose pictures, write pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from loreal_plugin.explain.drift import drift_numbers, embed_pictures, in_the_plane
from loreal_plugin.explain.explanation import Explainer, Explanation
from loreal_plugin.explain.map_page import save_map
from loreal_plugin.explain.overview import save_overview
from loreal_plugin.explain.page import save_page
from loreal_plugin.explain.runs import OpenRun, open_run
from loreal_plugin.explain.sample import choose, labels_of, split_words
from loreal_plugin.explain.slot_worth import load_vocabulary
from loreal_plugin.files import write_json
from loreal_plugin.plain_output import Say, say_line

NUMBERS, OVERVIEW = "explanations.json", "overview.png"
IGNORED = 0.01  # of its mean: a content that moves less says the same of every picture


def explain_pictures(
    words: list[str],
    run_path: Path,
    folder: Path,
    *,
    count: int,
    pick: str,
    say: Say = say_line,
    **where: Any,
) -> list[Path]:
    """Write one page a picture, their overview and `explanations.json`; return the pages.

    Args:
        words: picture files, or one dataset; none means the run's own dataset.
        run_path: the run's results.json or its folder.
        folder: where pages go.
        count, pick: how many pictures of a dataset, and which, see `choose`.
        where: `classes`, `host`, `data`, `weights`, `row` of `open_run`.

    Raises:
        LorealError: something cannot be read, used or written; pages that are there by then are
            whole.
    """
    files, dataset = split_words(words, say)
    run = open_run(run_path, dataset=dataset, say=say, **where)
    if files:
        pictures = list(zip(files, labels_of(run, files, say), strict=True))
    else:
        chosen = choose(run, run.items("test"), count, pick, say)
        pictures = [(item.impath, run.deployed.classnames[item.label]) for item in chosen]
    explainer = Explainer(run, load_vocabulary(run))
    explanations: list[Explanation] = []
    pages: list[Path] = []
    for index, (file, label) in enumerate(pictures):
        explanation, page = explainer.explain(file, label), folder / page_name(index, label, file)
        save_page(explanation, run.title, page)
        say(f"[{index + 1}/{len(pictures)}] {page}")
        say(f"  {in_words(explanation)}")
        explanations.append(explanation)
        pages.append(page)
    save_overview(explanations, run.title, folder / OVERVIEW)
    numbers = [
        {"page": page.name, **explanation.numbers()}
        for page, explanation in zip(pages, explanations, strict=True)
    ]
    write_json(folder / NUMBERS, {**facts(run), "pictures": numbers})
    return pages


def in_words(explanation: Explanation) -> str:
    """Return what the host and LOREAL call a picture at phi, and whether the slots read it."""
    host, loreal = explanation.predictions[-2:]
    answers = [
        f"{one.name}: {one.classes[0]} {100 * one.probabilities[0]:.0f} %" for one in (host, loreal)
    ]
    label = f"it is {explanation.label}; " if explanation.label else ""
    slots = explanation.slots.get(loreal.size, ())
    moves = [slot.moves for slot in slots if slot.moves is not None]
    ignored = "; the slots ignore it (contents move by less than 1 %)"
    return f"{label}{', '.join(answers)}{ignored if moves and max(moves) < IGNORED else ''}"


def page_name(index: int, label: str, file: str) -> str:
    """Return a page's file name: number, class and picture, in letters for any file system."""
    parts = [f"{index:02d}", label, Path(file).stem]
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", part) for part in parts if part) + ".png"


def facts(run: OpenRun) -> dict[str, Any]:
    """Return which run and classes something was made of, in JSON's types."""
    record = run.record
    named = {key: record[key] for key in ("key", "method", "phi", "seed", "shots", "attributes")}
    return {
        **named,
        "trained_on": record["dataset"],
        "dataset": run.dataset,
        "classes": run.classes,
    }


def embed_dataset(
    dataset: str,
    run_path: Path,
    path: Path,
    *,
    part: str,
    count: int,
    kind: str,
    say: Say = say_line,
    **where: Any,
) -> dict[str, dict[str, float]]:
    """Draw the map of a dataset's embeddings at both sizes; return its numbers.

    They are written as JSON beside the map.

    Args:
        dataset: empty means the run's own.
        run_path: the run's results.json or its folder.
        path: the PNG.
        part: `test` or `train`.
        count: pictures, spread evenly.
        kind: `pca` or `tsne`.
        where: `classes`, `host`, `data`, `weights`, `row` of `open_run`.

    Raises:
        LorealError: something cannot be read, used or written.
    """
    run = open_run(run_path, dataset=dataset, say=say, **where)
    items = choose(run, run.items(part), count, say=say)
    say(f"embedding {len(items)} {part} pictures at {run.native_size} and {run.phi}")
    embedded = embed_pictures(run, items, say)
    numbers = {
        name: drift_numbers(embedded.native, low, embedded.labels)
        for name, low in embedded.low.items()
    }
    pictures = f"{len(items)} {part} pictures of {run.dataset}, {run.classes} classes"
    places, sizes = in_the_plane(embedded, kind), (run.native_size, run.phi)
    names, title = run.deployed.classnames, f"{run.title}: {pictures}"
    save_map(path, title, places, embedded.labels, names, numbers, sizes, kind)
    made = {**facts(run), "part": part, "map": kind, "drift": numbers}
    write_json(path.with_suffix(".json"), made)
    return numbers
