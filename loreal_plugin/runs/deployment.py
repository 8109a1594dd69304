"""What a trained run keeps so that it can be opened alone, without dataset and other stages.

`<stage 3>/loreal/deployment.json` has the classes of every test set and the settings that a student
is built from; `deployment.safetensors` has what beta learned in stage 2. Both are written when
stage 3 has ended. Runs of earlier releases lack them: their record, stage 3's checkpoint and stage
2's folder tell the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from loreal_plugin.adapt.files import adaptation_file, read_adaptation
from loreal_plugin.config import flatten, is_method_key
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import digest_bytes, read_checked, write_checked
from loreal_plugin.files.checked_json import OLD
from loreal_plugin.files.tensors import write_tensors
from loreal_plugin.trainer.checkpoint import NAME

NOTE, TENSORS = "deployment.json", "deployment.safetensors"
DEPLOYMENT_VERSION = 1
UPDATE = "adaptation/"  # before the names of updates, among the learned tensors


@dataclass(frozen=True)
class Deployment:
    """What of a run a prediction needs beside stage 3's checkpoint.

    Attributes:
        settings: configuration of the students by key, in JSON's types.
        classnames: class names by test set (`base`, `new`, or a dataset), as the dataset has them.
        trained_on: the test set whose classes were trained on.
        learned: beta's learned tensors by name; None: they lie in stage 2's folder.
        adaptation: updates of beta's image side; none: it is the host's.
        adaptation_note: what the updates belong to.
        datasets: the host's name of the dataset by test set; runs of earlier releases have none.
    """

    settings: Mapping[str, Any]
    classnames: Mapping[str, list[str]]
    trained_on: str
    learned: Mapping[str, Tensor] | None
    adaptation: Mapping[str, Tensor] = field(default_factory=dict)
    adaptation_note: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)


def student_settings(cfg: Any, node: str | None) -> dict[str, Any]:
    """Return the settings of a configuration that a student and its pictures depend on.

    Args:
        node: the method's own node under TRAINER; None: every one.
    """
    wanted = ("INPUT.", "DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES", "TASK")
    return {
        key: value
        for key, value in flatten(cfg).items()
        if key.startswith(wanted) or is_method_key(key, node)
    }


def write_deployment(
    folder: Path,
    trainer: Any,
    classnames: Mapping[str, list[str]],
    datasets: Mapping[str, str],
    trained_on: str,
) -> None:
    """Write the deployment of a trained stage 3 into its folder.

    Args:
        trainer: the `<X>_LOREAL` trainer after its training.
        classnames: by test set.
        datasets: the host's name of the dataset by test set.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    beta, place = trainer.model.beta, folder / NAME
    updates = {f"{UPDATE}{name}": value for name, value in beta.adaptation.items()}
    try:
        sha256 = write_tensors(place / TENSORS, {**beta.learned, **updates})
    except OSError as error:
        raise CheckpointError(f"{place / TENSORS} cannot be written: {error}") from error
    note = {
        "schema_version": DEPLOYMENT_VERSION,
        "sha256": sha256,
        "settings": student_settings(trainer.cfg, trainer.contract.counted_node),
        "classnames": {name: list(names) for name, names in classnames.items()},
        "datasets": dict(datasets),
        "trained_on": trained_on,
    }
    if updates:
        source = adaptation_file(Path(trainer.stage3.options.adapt_dir))
        note["adaptation"] = read_adaptation(source)[1]
    write_checked(place / NOTE, note)


def read_deployment(
    folder: Path, record: Mapping[str, Any], checkpoint: Mapping[str, Any]
) -> Deployment:
    """Return the deployment that lies in stage 3's folder, or what earlier releases kept of it.

    Args:
        record: the run's results.json.
        checkpoint: the record of stage 3's checkpoint.

    Raises:
        CheckpointError: it is damaged or of a later release.
    """
    place = folder / NAME
    if not (place / NOTE).is_file():
        trained_on = record["config"]["DATASET.SUBSAMPLE_CLASSES"]
        classnames = {trained_on: checkpoint["classnames"]}
        return Deployment(record["config"], classnames, trained_on, learned=None)
    note, fault = read_checked(place / NOTE)
    if fault and fault != OLD:
        raise CheckpointError(f"{place / NOTE} {fault}; run the same command again to make it anew")
    if note.get("schema_version") != DEPLOYMENT_VERSION:
        raise CheckpointError(
            f"{place / NOTE} has schema version {note.get('schema_version')}, this release reads"
            f" {DEPLOYMENT_VERSION}; run the same command again to write it anew"
        )
    try:
        content = (place / TENSORS).read_bytes()
        if digest_bytes(content) != note["sha256"]:
            raise ValueError("its content is not what was written")
        learned = load(content)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{place / TENSORS} cannot be used ({error}); train stage 3 again, or remove"
            f" {place / NOTE} to read stage 2's folder instead"
        ) from error
    updates = {
        name.removeprefix(UPDATE): value
        for name, value in learned.items()
        if name.startswith(UPDATE)
    }
    learned = {name: value for name, value in learned.items() if not name.startswith(UPDATE)}
    return Deployment(
        note["settings"],
        note["classnames"],
        note["trained_on"],
        learned,
        adaptation=updates,
        adaptation_note=note.get("adaptation", {}),
        datasets=note.get("datasets", {}),
    )
