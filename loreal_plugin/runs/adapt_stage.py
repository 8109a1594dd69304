"""The stage `adapt`, after `loreal`: beta's image side learns from alpha's, without labels.

It needs stage `alpha` alone, and the stage `adapted` after it stands on it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from loreal_plugin.adapt.files import FOLDER, adaptation_file, as_stored, write_adaptation
from loreal_plugin.adapt.parts import part_files, read_part, write_part
from loreal_plugin.adapt.pictures import SHOTS
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.shards import Shards
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.train import Distillation, Progress
from loreal_plugin.files.caches import limit_mb, prune, without_cache
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.paths import cache_root
from loreal_plugin.results.record import AdaptationFacts
from loreal_plugin.runs.adaptation_facts import other_pictures
from loreal_plugin.runs.journal import Journal
from loreal_plugin.runs.keys import METHOD_VERSION
from loreal_plugin.students.build import build_student, device_of
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import build_recipe

SAVES = 20  # checkpoints of a training
VARIABLE, DEFAULT_MB = "LOREAL_ADAPT_CACHE", 1024  # what alpha's targets may take between runs


def train_adaptation(engine: Any, stage: Any, journal: Journal) -> dict[str, Any]:
    """Train an adaptation to its end and write it; return what was measured of it.

    An interrupted training of the same key goes on from its last checkpoint.

    Args:
        engine: has host, plan, configurations and keys.
        stage: the stage `adapt` of its plan.
        journal: vouches for checkpoints.

    Raises:
        ConfigError: the loss is no number any more; the rank does not fit; LOREAL_ADAPT_CACHE is
            no number of MB.
        DataError: a picture cannot be read, or a folder has none.
    """
    facts = engine.identity.adaptation_facts()
    limit = limit_mb(VARIABLE, DEFAULT_MB)
    training = _training(engine, stage, facts, kept=limit > 0)
    _make_room(training.shards, limit, keep=training.shards.entries)
    checkpoints = _Checkpoints(stage.folder / FOLDER, journal)
    if checkpoints.resume(training):
        done, whole = training.passes_done, len(training.order)
        print(f"LOREAL goes on after pass {done} of {whole} over the pictures")
    every = max(1, len(training.order) // SAVES)
    for progress in training.run():
        print(_progress_line(progress, training), flush=True)
        if progress.passes_done % every == 0 and progress.passes_done < progress.passes:
            checkpoints.save(training)
    tensors = as_stored(training.adaptation.state())
    count = sum(value.numel() for value in tensors.values())
    write_adaptation(adaptation_file(stage.folder), tensors, facts)
    checkpoints.remove()
    _make_room(training.shards, limit)
    return {
        "parameters": count,
        "epochs": training.settings.epochs,
        "steps_per_epoch": training.steps // training.settings.epochs,
        "pictures": len(training.shards.paths),
        "enlarge": training.settings.enlarge,
        "adaptation": _told(engine, facts),
        "base": None,
    }


def _told(engine: Any, facts: dict[str, Any]) -> AdaptationFacts:
    """Return what a record says of an adaptation, so that seeds of it can be told from others: its
    settings, and the hash of its pictures where they are a folder's.
    """
    shots = engine.identity.options_of("adapt").adapt_pictures == SHOTS
    return {"settings": facts["settings"], "pictures": None if shots else facts["pictures"]}


def _training(engine: Any, stage: Any, facts: dict[str, Any], *, kept: bool) -> Distillation:
    """Return the training at its start: two students, their pictures, updates on one of them.

    Args:
        kept: whether alpha's targets are read from the cache, and stored there.
    """
    cfg, identity, plan = engine.cfgs[stage.name], engine.identity, engine.plan
    settings = AdaptSettings.of(identity.options_of(stage.name), cfg.SEED)
    names = list(identity.dataset(plan.source).classnames)
    alpha = _student(engine, cfg, names, plan.native_size)
    beta = _student(engine, cfg, names, plan.spec.phi, settings.enlarge)
    share_clip_tensors(alpha, beta)
    pupil, teacher = Tower(beta), Tower(alpha)
    shards = Shards(
        teacher,
        picture_files(engine),
        sizes=[plan.spec.phi],
        grids=[pupil.grid],
        recipe=build_recipe(cfg),
        seed=cfg.SEED,
        views=settings.views,
        store=VerifiedStore(cache_root() / "adaptation", "cache of alpha's targets")
        if kept
        else None,
        ingredients=_target_facts(facts, alpha),
    )
    return Distillation(pupil, adapt(beta, settings), shards, settings)


def _make_room(shards: Shards, limit: int, keep: Collection[str] = ()) -> None:
    """Remove the oldest targets of the cache down to `limit` MB, but none of those named in `keep`.

    What another process trains on may go, too: it makes them again.
    """
    if shards.store is None:
        return
    try:
        prune(shards.store.folder, limit, keep)
    except OSError as error:
        without_cache(shards.store.folder, error)


def _target_facts(facts: dict[str, Any], alpha: Student) -> dict[str, Any]:
    """Return what alpha's targets depend on: all but how the pupil is trained on them."""
    return {key: value for key, value in facts.items() if key != "settings"} | {
        "seed": facts["settings"]["seed"],
        "method_version": METHOD_VERSION,
        "computed": [str(alpha.dtype), alpha.device.type],
    }


def picture_files(engine: Any) -> list[str]:
    """Return the pictures of an adaptation: the few shots, or a folder's, without labels."""
    files = other_pictures(engine.identity.options_of("adapt"))
    dataset = engine.identity.dataset(engine.plan.source)
    return [item.impath for item in dataset.train_x] if files is None else files


def _student(engine: Any, cfg: Any, names: list[str], size: int, enlarge: int = 0) -> Student:
    """Return alpha at a size; plain CLIP where its method learns nothing of the image side."""
    learns = engine.host.contract.learns_images
    options = engine.identity.options_of("adapt")
    return build_student(
        engine.host,
        cfg,
        names,
        device_of(cfg),
        input_size=size,
        checkpoint_dir=engine.plan.stages["alpha"].folder if learns else None,
        epoch=options.alpha_epoch,
        enlarge=enlarge,
    )


# ---- going on ------------------------------------------------------------------------------------


class _Checkpoints:
    """What an interrupted training goes on from: the newest checkpoint, a file of its own."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder, self.journal = folder, journal

    def save(self, training: Distillation) -> None:
        """Write a checkpoint, let the journal vouch for it, and remove those before."""
        older = part_files(self.folder)
        write_part(self.folder, training)
        self.journal.note_files()
        self._drop(older)

    def resume(self, training: Distillation) -> bool:
        """Load the newest checkpoint, which the journal has checked; return if there is one."""
        found = part_files(self.folder)
        if found:
            read_part(found[-1], training)
        return bool(found)

    def remove(self) -> None:
        """Remove all checkpoints: the training has ended."""
        self._drop(part_files(self.folder))

    def _drop(self, paths: list[Path]) -> None:
        for path in paths:
            # first out of the journal: a file that it names has to be there
            self.journal.forget(path.name)
            path.unlink()


def _progress_line(progress: Progress, training: Distillation) -> str:
    """Return a line of progress in the form of Dassl's, of which the console tells the time left.

    A pass reads one view of one part of the pictures; an epoch has the same number of passes each.
    """
    epochs = training.settings.epochs
    passes, steps = len(training.order) // epochs, training.steps // epochs
    epoch, done = divmod(progress.passes_done - 1, passes)
    batch = round(steps * (done + 1) / passes)
    return f"epoch [{epoch + 1}/{epochs}] batch [{batch}/{steps}] loss {progress.loss:.4f}"
