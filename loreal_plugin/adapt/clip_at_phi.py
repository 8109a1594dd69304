"""A CLIP that sees at phi, made from unlabelled pictures alone; no prompt learner takes part.

The CLIP at its native size is the teacher, the same CLIP at phi the pupil. What comes out is a CLIP
file of its own with phi as native size. A pupil of several sizes reads each batch at one of them,
drawn at random. Its file has the largest as native size; at the others the file is used as any CLIP
is, with resampled positions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.adapt.parts import part_files, read_sealed_part, write_sealed_part
from loreal_plugin.adapt.ranks import Ranks
from loreal_plugin.adapt.shards import Shards
from loreal_plugin.adapt.tar_pictures import Source, sources_below, stamps_of
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.tower_plan import (
    TowerPlan,
    check_settings,
    check_size,
    complete_note,
    key_of,
)
from loreal_plugin.adapt.train import Distillation, Progress
from loreal_plugin.attach import AttachedHost, attach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.files import digest, digest_file, write_checked
from loreal_plugin.files.store import VerifiedStore
from loreal_plugin.options import position_resampling
from loreal_plugin.paths import cache_root, embedded_host
from loreal_plugin.plain_output import Say
from loreal_plugin.students.build import build_student
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student
from loreal_plugin.students.views import ViewRecipe, as_input
from loreal_plugin.weights import clip_sizes, load_clip_state_dict, weights_fingerprint
from loreal_plugin.weights.write import MEAN, STD, check_place, write_clip

SAVES = 20  # checkpoints of a training
MINUTES = 10  # at most between two checkpoints, up to the length of a pass
QUIET = 10  # seconds at least between two lines of progress
COMPARED = 128  # pictures on which pupil and teacher are compared, in a view that does not train


def adapt_clip(plan: TowerPlan, say: Say, ranks: Ranks | None = None) -> dict[str, Any]:
    """Train the image tower for phi, write the CLIP, and return what the note beside it says.

    The same plan goes on where it was interrupted. What is there already is not made again.

    Args:
        ranks: the processes that train together; None: this one alone.

    Raises:
        ConfigError: a setting that cannot be used, or a training that diverges.
        DataError: no picture, or one that cannot be read.
        WeightsError: weights that cannot be read, or a place where nothing can be written.
        CheckpointError: checkpoints of another training lie in the way.
    """
    ranks = ranks or Ranks()
    say = say if ranks.first else lambda _: None
    check_settings(plan)
    check_size(plan)
    check_place(plan.out, plan.layout)
    files = sources_below(plan.pictures, "--pictures")
    key = key_of(plan, files)
    if (found := ranks.broadcast(complete_note(plan, key))) is not None:
        say(f"complete (key {key[:8]}), nothing to do")
        return found
    began = time.monotonic()
    training = _training(plan, files, ranks)
    before = _mean_cosines(training.beta, training.shards)
    _train(plan, training, key, say)
    after = _mean_cosines(training.beta, training.shards)
    training.beta.read_grid(training.beta.own_grid)
    training.adaptation.merge()
    state = clip_of(training.beta.student, load_clip_state_dict(plan.weights))
    facts = _facts(plan, key, training, len(files), before, after)
    facts["seconds"] = time.monotonic() - began
    if ranks.first:
        facts |= _write(plan, state)
        write_checked(plan.note, facts)
        _remove_parts(plan.work)
    return ranks.broadcast(facts)


def _facts(
    plan: TowerPlan,
    key: str,
    training: Distillation,
    pictures: int,
    before: list[float],
    after: list[float],
) -> dict[str, Any]:
    """Return what the note says of a training; the cosines are of each size, the largest first."""
    return {
        "key": key,
        "weights": plan.weights,
        "phi": plan.phi,
        "smaller": list(plan.smaller),
        "pictures": pictures,
        "layout": plan.layout,
        "settings": plan.settings.facts(),
        "parameters": sum(p.numel() for p in training.adaptation.parameters()),
        "cosine_before": before[0],
        "cosine_after": after[0],
        "cosines_before": before,
        "cosines_after": after,
    }


# ---- training ------------------------------------------------------------------------------------


def _training(plan: TowerPlan, files: list[Source], ranks: Ranks) -> Distillation:
    """Return the training at its start."""
    host = attach_host(embedded_host(), PLAIN_METHOD)
    native = clip_sizes(plan.weights)["resolution"]
    alpha, beta = (plain_student(host, plan.weights, s, ranks.device) for s in (native, plan.phi))
    share_clip_tensors(alpha, beta)
    pupil, teacher = Tower(beta, plan.half), Tower(alpha, plan.half)
    root = plan.pictures.expanduser()
    # not where runs keep theirs: these were asked for, and no bound takes them away
    store = VerifiedStore(cache_root() / "kept_targets", "cache of the teacher's targets")
    shards = Shards(
        teacher,
        files,
        sizes=plan.sizes,
        grids=[size // pupil.patch for size in plan.sizes],
        recipe=ViewRecipe((plan.crop, 1.0), True, "bicubic", MEAN, STD),
        seed=plan.settings.seed,
        views=plan.settings.views,
        store=store if plan.keep_targets else None,
        ingredients={
            "weights": weights_fingerprint(plan.weights),
            "pictures": digest(stamps_of(files, root)),
            "crop": plan.crop,
            "half": str(plan.half),
            "seed": plan.settings.seed,
        },
        ranks=ranks,
    )
    updates = adapt(beta, plan.settings)
    if plan.smaller:
        pupil.several_sizes(position_resampling(beta.cfg))
    return Distillation(pupil, updates, shards, plan.settings, plan.accumulate)


def plain_student(
    host: AttachedHost, weights: str, size: int, device: torch.device | str
) -> Student:
    """Return zero-shot CLIP of some weights at a size, in 32 bits, as a student of a host."""
    row = host.contract
    values = {**row.zero_shot_options, "PREC": "fp32"}
    options = [part for k, v in values.items() for part in (f"TRAINER.{row.cfg_node}.{k}", v)]
    options += ["MODEL.BACKBONE.NAME", weights, "INPUT.SIZE", f"({size}, {size})"]
    with redirect_stdout(StringIO()), using_weights(weights):
        cfg = host.setup_cfg(["--trainer", row.trainer, *options])
        return build_student(host, cfg, ("picture",), device, input_size=size)


def _train(plan: TowerPlan, training: Distillation, key: str, say: Say) -> None:
    """Train to the end, from the last checkpoint if there is one."""
    ranks = training.shards.ranks
    checkpoints = ranks.broadcast(part_files(plan.work))
    if checkpoints:
        read_sealed_part(checkpoints[-1], training, key)
        say(f"goes on after pass {training.passes_done} of {len(training.order)}")
    every = max(1, len(training.order) // SAVES)
    said = saved = time.monotonic()
    for progress in training.run():
        now = time.monotonic()
        last = progress.passes_done == progress.passes
        due = progress.passes_done % every == 0 or now - saved > 60 * MINUTES
        if ranks.first and due and not last:
            _save(plan.work, training, key)
            saved = now
        if last or now - said > QUIET:
            say(_line(progress, training))
            said = now


def _save(folder: Path, training: Distillation, key: str) -> None:
    """Write a checkpoint, then remove those before."""
    older = part_files(folder)
    write_sealed_part(folder, training, key)
    for path in older:
        path.unlink()


def _remove_parts(folder: Path) -> None:
    """Remove the checkpoints: the CLIP is written."""
    for path in part_files(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _line(progress: Progress, training: Distillation) -> str:
    """Return one line of progress: share, loss, pictures a second, time left."""
    shards, first = training.shards, training.passes_at_start
    done = training.order[first : progress.passes_done]
    speed = sum(len(shards.parts[part]) for _, part in done) / max(progress.seconds, 1e-9)
    rest = sum(len(shards.parts[part]) for _, part in training.order[progress.passes_done :])
    share = f"{100 * progress.passes_done / progress.passes:.0f} %"
    return f"  {share}: loss {progress.loss:.3f}, {speed:.0f} pictures/s, {rest / speed:.0f} s left"


@torch.no_grad()
def _mean_cosines(pupil: Tower, shards: Shards) -> list[float]:
    """Return the mean cosine of pupil and teacher on the same crops, at each size of the pupil."""
    indices = shards.parts[0][:COMPARED].tolist()
    cosines: list[list[Tensor]] = [[] for _ in shards.sizes]
    for *smaller, large in shards.rendered(indices, shards.views, with_large=True):
        wanted, _ = shards.alpha.encode(as_input(large, shards.recipe))
        for small, grid, of_size in zip(smaller, shards.grids, cosines, strict=True):
            pupil.read_grid(grid)
            features, _ = pupil.encode(as_input(small, shards.recipe))
            cosine = F.cosine_similarity(features.float(), wanted.float(), dim=-1)
            of_size.append(cosine.flatten().cpu())
    return [float(torch.cat(of_size).mean()) for of_size in cosines]


# ---- what is written -----------------------------------------------------------------------------


def clip_of(student: Student, source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a CLIP under OpenAI's keys: the student's image side, the text side of its source.

    The numbers are rounded as CLIP's own loader rounds them. The student takes them over, too: it
    then computes what a model from the file computes.

    Args:
        student: plain CLIP, with its updates merged.
        source: the weights that it was built from.
    """
    state = dict(source)
    image_side = student.model.image_encoder.state_dict()
    parts = student.contract.image_tower(student.model)
    rounded = {name.partition(".")[2] for name in (parts.kernel, *parts.maps)}
    for name, value in image_side.items():
        stored = source[f"visual.{name}"].dtype
        kind = torch.float16 if stored == torch.float16 else torch.float32
        value.copy_((value.half() if name in rounded else value).to(kind))
        state[f"visual.{name}"] = value.detach().cpu().to(kind)
    return state


def _write(plan: TowerPlan, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write the CLIP; return where its weights are, and their hash."""
    file = write_clip(state, plan.out, plan.layout)
    return {
        "file": file.relative_to(plan.out.parent).as_posix(),
        "sha256": digest_file(file),
        "bytes": file.stat().st_size,
    }
