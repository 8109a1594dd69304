"""Saving, loading and resuming stage 3: from its parts to checkpoint files and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attributes import dataset_of
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.tensors import pack_optimizer, replay_schedule, unpack_optimizer
from loreal_plugin.method.correction import correction_from_tensors
from loreal_plugin.options import ADAPTATION, INFERENCE_ONLY
from loreal_plugin.students.student import with_slots
from loreal_plugin.trainer import checkpoint as files
from loreal_plugin.trainer.stage3 import Stage3

# Options that a resumed run may change: places, and how the same numbers are computed.
FREE_ON_RESUME = (
    *("alpha_dir", "beta_dir", "cache_dir", "attributes"),
    *("text_path", "class_chunk", "memory_budget_mb"),
    *(name.lower() for name in INFERENCE_ONLY),
    # the students' fingerprints say which adaptation is in use
    *(name.lower() for name in ADAPTATION),
)


def save(
    stage: Stage3,
    directory: Path,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    scaler: Any,
    *,
    best: bool = False,
    only_best: bool = False,
    val_result: float | None = None,
) -> None:
    """Save the meta-nets and all that a resumed run needs, under `<directory>/loreal/`.

    Args:
        epoch: epochs that are done.
        best: also write the file of the best epoch; `only_best`: nothing else.
    """
    alpha, beta = stage.students
    tensors, plain = pack_optimizer(optimizer)
    tensors |= stage.model.meta_nets.state_dict()
    means = {"means.alpha": alpha.mean, "means.beta": beta.mean}
    tensors |= {name: value for name, value in means.items() if value is not None}
    tensors |= stage.model.correction.tensors() if stage.model.correction else {}
    record = {
        "identity": stage.identity,
        "epoch": epoch,
        "val_result": val_result,
        "phi": stage.options.phi,
        "dataset": dataset_of(stage.cfg),
        **_run_facts(stage),
        "options": vars(stage.options),
        "view_seed": stage.data.seed,
        "optimizer": plain,
        "scaler": scaler.state_dict() if scaler else None,
    }
    names = [] if only_best else [files.file_name(epoch)]
    for name in [*names, *([files.BEST] if best or only_best else [])]:
        path = files.write_checkpoint(directory / files.NAME, name, tensors, record)
        print(f"Checkpoint saved to {path}")


def load(stage: Stage3, directory: Path, epoch: int | None) -> None:
    """Load the meta-nets of an epoch (None: the best, else the last).

    Raises:
        CheckpointError: missing, broken, or of another method, backbone, K, D_s or attribute list.
    """
    path = files.find_checkpoint(directory, epoch)
    tensors, record = files.read_checkpoint(path)
    skip = _take_words(stage, record)
    files.check_identity(path, record, stage.identity, skip)
    _take_tensors(stage, tensors)
    stage.loaded = directory, record
    if record["phi"] != stage.options.phi:
        print(
            f"Note: {path} was trained for phi {record['phi']}, this run tests at"
            f" {stage.options.phi}"
        )
    loaded = f"epoch={record['epoch']}, val_result={record['val_result']}"
    print(f"Load {path} to {files.NAME} ({loaded})")


def resume(
    stage: Stage3, directory: Path, optimizer: torch.optim.Optimizer, schedule: Any, scaler: Any
) -> int:
    """Return the epoch to go on from, with everything as it was after the one before.

    Raises:
        CheckpointError: the checkpoint belongs to other options, classes or students.
    """
    path = files.latest_checkpoint(directory)
    if path is None:
        print("No checkpoint found, train from scratch")
        return 0
    print(f"Found checkpoint at {directory} (will resume training)")
    tensors, record = files.read_checkpoint(path)
    files.check_identity(path, record, stage.identity)
    _check_same_run(stage, path, record)
    _take_tensors(stage, tensors)
    unpack_optimizer(optimizer, tensors, record["optimizer"])
    if scaler is not None and record["scaler"]:
        scaler.load_state_dict(record["scaler"])
    replay_schedule(schedule, record["epoch"])
    stage.data.seed = record["view_seed"]
    print(f"Previous epoch: {record['epoch']}")
    return record["epoch"]


def best_of_interrupted_run(directory: Path) -> float:
    """Return the validation result of the best checkpoint that an interrupted run left."""
    path = directory / files.NAME / files.BEST
    value = files.read_checkpoint(path)[1]["val_result"] if path.is_file() else None
    return float("-inf") if value is None else value


def _run_facts(stage: Stage3) -> dict[str, Any]:
    """Return the classes, words and students of a run, in JSON's types."""
    alpha, beta = stage.students
    return {
        "classnames": list(stage.dataset.classnames),
        "learned": {"alpha": alpha.fingerprint(), "beta": beta.fingerprint()},
        "words": [word if isinstance(word, str) else list(word) for word in stage.words],
    }


def _check_same_run(stage: Stage3, path: Path, record: dict[str, Any]) -> None:
    """Raise CheckpointError where a resumed run would be another run."""
    options = {k: v for k, v in vars(stage.options).items() if k not in FREE_ON_RESUME}
    facts = _run_facts(stage)
    mine = {**facts, **options}
    theirs = {**record["options"], **{key: record[key] for key in facts}}
    differ = [
        f"{key} was {theirs.get(key)!r}, is {value!r}"
        for key, value in mine.items()
        if theirs.get(key) != value
    ]
    if differ:
        raise CheckpointError(
            f"training cannot go on from {path}: {'; '.join(differ)}; choose another output folder"
        )


def _take_tensors(stage: Stage3, tensors: dict[str, Tensor]) -> None:
    """Put a checkpoint's meta-nets, training means and correction in place."""
    own, (alpha, beta) = stage.model.meta_nets.state_dict(), stage.students
    stage.model.meta_nets.load_state_dict({name: tensors[name] for name in own})
    alpha.mean, beta.mean = tensors.get("means.alpha"), tensors.get("means.beta")
    stage.model.correction = correction_from_tensors(tensors)


def _take_words(stage: Stage3, record: dict[str, Any]) -> tuple[str, ...]:
    """On another dataset, choose whose words the slots hold; return what need not agree.

    Meta-net k learned the source's k-th word: with `source` that word goes into the slot, unless
    the attribute file was named; with `target` the tested dataset's own.
    """
    o = stage.options
    if record["dataset"] == dataset_of(stage.cfg) or o.attribute_scope == "class":
        return ()
    if o.test_attributes == "target":
        return ("attributes",)
    if not o.attributes and record["words"] != list(stage.words):
        stage.words = record["words"]
        stage.identity["attributes"] = list(stage.words)
        alpha, beta = (with_slots(student, stage.words, o) for student in stage.students)
        stage.model.alpha, stage.model.beta = alpha, beta
        print(f"Attributes of the source dataset: {', '.join(stage.words)}")
    return ()
