"""Few-shot subsets and the base and new halves of the classes: pure functions on items."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from loreal_plugin.data.items import Item
from loreal_plugin.data.splits import by_label, from_rows, to_rows
from loreal_plugin.data.storage import read_json_file, save_json_file
from loreal_plugin.errors import ConfigError, unknown_name

MAX_VAL_SHOTS = 4  # as in CoOp
SUBSAMPLES = ("all", "base", "new")


def sample_shots(items: Sequence[Item], shots: int, rng: random.Random) -> list[Item]:
    """Return `shots` pictures of every class, each once; all of a class that has fewer.

    With `rng = random.Random(SEED)` this draws what CoOp draws from a saved split with that seed:
    in CoOp nothing else uses the global random state between seeding and sampling.

    Source: Dassl `DatasetBase.generate_fewshot_dataset`.
    """
    drawn, short = [], []
    for group in by_label(items).values():
        if len(group) < shots:
            short.append(f"'{group[0].classname}' {len(group)}")
        drawn.extend(rng.sample(group, shots) if len(group) >= shots else group)
    if short:
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        print(f"Fewer than {shots} pictures, all are taken: {', '.join(short[:3])}{more}")
    return drawn


def fingerprint(parts: Iterable[tuple[str, list[Item]]], image_dir: Path) -> str:
    """Return the SHA-256 of names, labels and class names, in order."""
    digest = hashlib.sha256()  # row by row: a split may have millions of them
    for part, items in parts:
        digest.update(f"{part} {len(items)}\n".encode())
        for path, label, classname in to_rows(items, image_dir):
            digest.update(f"{path}\0{label}\0{classname}\n".encode())
    return digest.hexdigest()


def few_shot_parts(
    parts: dict[str, list[Item]], *, shots: int, seed: int, folder: Path, image_dir: Path
) -> dict[str, list[Item]]:
    """Return the few-shot subset of `parts` ("train", perhaps "val"), from its file or drawn now.

    The file `shot_K-seed_S.json` also holds a fingerprint of what it was drawn from. So a new split
    is never used with the subset of an old one, whose training pictures may be test pictures now.
    The hosts' own pickles are not read: a pickle can run code, and drawing again gives the same
    pictures. A negative seed means "random": nothing is saved.

    Args:
        parts: items by part; the order is the order of drawing.
        shots: pictures a class; "val" gets at most 4.
        folder: where the files are.
        image_dir: what their paths are relative to.
    """
    source = fingerprint(parts.items(), image_dir)
    path = folder / f"shot_{shots}-seed_{seed}.json"
    if seed >= 0 and path.is_file():
        content = read_json_file(path, "few-shot file")
        if (
            isinstance(content, dict)
            and content.get("source") == source
            and all(p in content for p in parts)
        ):
            print(f"Few-shot subset read from {path}")
            return {part: from_rows(content[part], image_dir, path) for part in parts}
        print(f"Few-shot subset {path} belongs to another split and is drawn again")
    rng = random.Random(seed) if seed >= 0 else random.Random()
    drawn = {
        part: sample_shots(items, min(shots, MAX_VAL_SHOTS) if part == "val" else shots, rng)
        for part, items in parts.items()
    }
    if seed >= 0:
        rows = {part: to_rows(items, image_dir) for part, items in drawn.items()}
        saved = save_json_file({"source": source} | rows, path)
        place = f" and saved to {path}" if saved else ""
        print(f"Few-shot subset drawn with seed {seed}{place}")
    return drawn


def subsample_classes(*parts: list[Item], subsample: str) -> tuple[list[Item], ...]:
    """Return the parts with all classes, or with the base or new half only, relabelled from 0.

    The classes of the first part, sorted by label, are halved; the first ceil(n / 2) are base.
    Every part is cut to the chosen classes.

    Raises:
        ConfigError: `subsample` is none of all, base, new.

    Source: CoOp `datasets/oxford_pets.py` (`subsample_classes`).
    """
    if subsample not in SUBSAMPLES:
        raise ConfigError(unknown_name("DATASET.SUBSAMPLE_CLASSES", str(subsample), SUBSAMPLES))
    if subsample == "all":
        return parts
    labels = sorted({item.label for item in parts[0]})
    middle = (len(labels) + 1) // 2
    chosen = labels[:middle] if subsample == "base" else labels[middle:]
    new_label = {label: position for position, label in enumerate(chosen)}
    print(f"Only the {len(chosen)} {subsample} classes of {len(labels)}")
    return tuple(
        [item._replace(label=new_label[item.label]) for item in part if item.label in new_label]
        for part in parts
    )
