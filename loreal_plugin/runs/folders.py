"""Where a run's stages and evaluations live, in the family's layout, so that its
`parse_test_res.py` reads them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from loreal_plugin.contract import get_contract
from loreal_plugin.files import digest
from loreal_plugin.options import ADAPTATION, changed_positions, inference_only
from loreal_plugin.results.protocols import BASE2NEW, Protocol, own_targets
from loreal_plugin.runs.resampling import resampling_of
from loreal_plugin.runs.spec import ALPHA_EPOCH, Override, RunSpec, narrowness


def config_label(
    spec: RunSpec,
    stage: str,
    *,
    testing: bool = False,
    at_test: frozenset[str] = frozenset(),
    resampled: bool = False,
    whole_run: bool = False,
) -> str:
    """Return the folder name of a stage's configuration: the recipe, and a hash where anything
    overrides it.

    The host stages' name does not depend on LOREAL overrides, so that an ablation finds them again.
    Stage 3's does not depend on the adaptation beside it, and that of its training not on how it
    predicts.

    Args:
        stage: one of `spec.STAGES`.
        testing: the name for evaluations.
        at_test: further keys that only evaluations know.
        resampled: a host stage whose pictures are not of the native size: how its positions are
            resampled is part of the name, too.
        whole_run: the name for the record of the whole run, which every override changes.
    """
    label = "demo-2" if (spec.recipe, spec.weights) == ("demo", "demo-2") else spec.recipe
    # how a stage predicts, or is tested, does not change what it trains
    acting = [
        o
        for o in sorted(spec.overrides, key=narrowness)
        if testing or not (inference_only(o.key) or o.key in at_test)
    ]
    if stage == "loreal" and not whole_run:
        acting = [o for o in acting if not sets_adaptation(o)]
    changed = {_told(o, stage): o.value for o in acting if o.reaches(stage)}
    if resampled:
        changed |= changed_positions(resampling_of(spec))
    if stage in ("adapt", "adapted"):  # what stands on another adaptation is another student
        own = changed if stage == "adapted" else {}
        changed = own | _of_adaptation(spec) | changed_positions(resampling_of(spec))
    # what changes another stage may change this one, though it does not see the key itself
    beside = {"loreal": ("host", "beta"), "adapted": ("host",)}.get(stage, ())
    beside = (*beside, "adapted") if whole_run else beside
    changed |= {f"{o.scope}:{o.key}": o.value for o in spec.overrides if o.scope in beside}
    # weights that a recipe is made for go without saying
    usual = {"demo": ("demo", "demo-2"), "vit_b16": ("ViT-B/16",)}.get(spec.recipe, ())
    if spec.weights not in usual:
        changed["CLIP_WEIGHTS"] = spec.weights
    return f"{label}-{digest(changed)[:8]}" if changed else label


def with_targets(label: str, protocol: Protocol, source: str) -> str:
    """Return the folder name of a record of a protocol; targets that were named have their own.

    Those that belong to the source need not be named, and change nothing.
    """
    own = own_targets(protocol.name, source, protocol.targets)
    return f"{label}-to-{digest(list(own))[:8]}" if own else label


def _of_adaptation(spec: RunSpec) -> dict[str, str]:
    """Return the overrides that change an adaptation: its own keys, its pictures, its teacher.

    Where the method learns nothing of the image side, the teacher is CLIP: only its input counts.
    """
    learns = get_contract(spec.method).learns_images

    def counts(o: Override) -> bool:
        if sets_adaptation(o):
            return True
        if learns and (o.reaches("alpha") or (o.key == ALPHA_EPOCH and o.reaches("adapt"))):
            return True
        reads = o.key.startswith(("INPUT.", "MODEL.")) or o.key.endswith(".PREC")
        return reads and (o.reaches("alpha") or o.reaches("adapt"))

    # where stage 1 is no parent of it, who else sees the key does not matter
    of = "adapt" if learns else ""
    return {_told(o, of): o.value for o in sorted(spec.overrides, key=narrowness) if counts(o)}


def _told(override: Override, stage: str) -> str:
    """Return what stands for an override's key in the hash of a stage's name.

    After stage 2 it says so where all stages see the key: what a narrower scope asks for changes
    no student. Keys of MODEL and TRAINER need not: students have them in all stages alike.
    """
    everywhere = override.scope == "all" and stage in ("loreal", "adapt", "adapted")
    told = everywhere and not override.key.startswith(("MODEL.", "TRAINER."))
    return f"all:{override.key}" if told else override.key


def sets_adaptation(override: Override) -> bool:
    """Return whether this is a key of the adaptation, which stage 3 on the plain beta ignores."""
    return override.key.removeprefix("TRAINER.LOREAL.") in ADAPTATION


def run_folder(
    spec: RunSpec,
    split: str,
    trainer: str,
    label: str,
    variant: str = "",
    *,
    protocol: str = BASE2NEW.name,
    target: str = "",
) -> Path:
    """Return the folder of a stage, an evaluation or a record.

    Its place below `out`:
    `<protocol>/<split>/<dataset>[/<target>]/shots_N/<trainer>[/<variant>]/<label>/seedN`.

    Args:
        split: `train_base`, `test_base` or `test_new`; `train`, `test` or `run` of other protocols.
        target: the dataset that is tested, where it is not the one that was trained on.
        variant: `phi96` (trained and tested at 96), `at_phi96` (only tested at 96), empty at the
            native size.
    """
    dataset, target = (folder_name(name) for name in (spec.dataset, target))
    folder = spec.out / protocol / split / dataset / target / f"shots_{spec.shots}" / trainer
    return (folder / variant if variant else folder) / label / f"seed{spec.seed}"


def folder_name(dataset: str) -> str:
    """Return a dataset's name for folders: other characters than ASCII letters, digits and `._-`
    become `_`; a hash tells names in other scripts apart.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", dataset)
    return name if dataset.isascii() else f"{name}-{digest(dataset)[:8]}"


def lock_file(folder: Path) -> Path:
    """Return the lock of a stage folder: beside it and hidden, because the family's parser reads
    every other entry.
    """
    return folder.parent / f".{folder.name}.lock"


def place_aside(folder: Path, key: str) -> Path:
    """Return where `set_aside` moves a folder that belongs to the run `key`."""
    home = folder.parent.with_name(f"{folder.parent.name}.replaced")
    return home / (key[:8] or "unknown") / folder.name


def set_aside(folder: Path, key: str) -> Path:
    """Move a folder that belongs to the run `key` to `<label>.replaced/<key8>/seedN` and return its
    new place.
    """
    target, n = place_aside(folder, key), 1
    home = target.parent
    while target.exists():
        n += 1
        target = home / f"{folder.name}-{n}"
    home.mkdir(parents=True, exist_ok=True)
    shutil.move(str(folder), str(target))
    return target
