"""A finished run as one folder or archive, to be shared: what a prediction needs, and no more.

Stage 3's folder has all of it (docs/ARCHITECTURE.md, "A trained run"). Left out are checkpoints of
earlier epochs, logs and random states; so the record vouches for what is left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.digests import digest_file
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.export.describe import weights_facts
from loreal_plugin.export.export_run import make_folder
from loreal_plugin.export.machine_paths import without_paths
from loreal_plugin.export.pack_card import pack_card
from loreal_plugin.files import read_checked, write_checked, write_json, write_text
from loreal_plugin.files.atomic import sync
from loreal_plugin.files.folders import preparing, put_in_place
from loreal_plugin.files.manifest import SUMS
from loreal_plugin.files.packed import WEIGHTS
from loreal_plugin.files.tensors import write_tensors
from loreal_plugin.results.record import RESULTS, read_record, write_record
from loreal_plugin.runs.deployment import NOTE, TENSORS
from loreal_plugin.runs.find_run import find_run
from loreal_plugin.runs.stage_files import TABLES, check_files
from loreal_plugin.trainer.checkpoint import NAME, file_name, read_checkpoint

CONFIG, CARD = "config.json", "README.md"
ARCHIVES = {".zip": "zip", ".tar": "tar"}
_OTHER_ARCHIVES = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar")
_DESCRIBES = ("method", "trainer", "stage", "phi", "native_size", "dataset", "shots", "seed", "key")


def pack_run(
    run: str | Path,
    out: str | Path,
    *,
    row: str = "",
    with_weights: bool = False,
    weights: str | None = None,
) -> Path:
    """Write a finished run as a folder or archive that opens elsewhere; return its path.

    Args:
        run: folder of a finished run, as for `load_run`.
        out: a new folder, or a new `.zip` or `.tar`.
        row: `loreal` or `adapted`; empty: the adapted student where the run has one.
        with_weights: the file of the CLIP weights is packed, too.
        weights: that file, where it lies elsewhere than the run's record says.

    Raises:
        LorealError: no such run, a damaged one, or one of a release that kept too little of it.
        ConfigError: something lies at `out`, or it is another kind of archive.
    """
    out = Path(out).expanduser()
    if out.suffix.lower() in _OTHER_ARCHIVES:
        raise ConfigError(f"{out}: '{out.suffix}' is not written; give a folder, .zip or .tar")
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another --out")
    folder, stage, record, _ = find_run(run, row)
    files = _needed_files(folder, stage, record)
    with preparing(make_folder(out.parent) / out.name) as temporary:
        kind = archive_kind(out)
        name = out.stem if kind else out.name
        new = temporary / name
        for path in files:
            target = new / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _remove_machine_paths(new, record)
        if with_weights:
            _pack_weights(new, weights or record["weights"]["name"], record)
        _write_description(new, read_record(folder / RESULTS)[0], record)
        if kind:
            new = Path(shutil.make_archive(str(temporary / "archive"), kind, temporary, name))
            sync(new)
        put_in_place(new, out, temporary)
    return out


def archive_kind(out: Path) -> str:
    """Return the kind of archive that a name asks for; empty: it is a folder's."""
    return ARCHIVES.get(out.suffix.lower(), "")


def _needed_files(folder: Path, stage: str, record: Mapping[str, Any]) -> list[Path]:
    """Return the files of a stage that a prediction needs, after a check of their hashes."""
    check_files(folder)
    if not (folder / NAME / NOTE).is_file():
        raise CheckpointError(
            f"{folder} was made by a release that did not keep {NOTE}; run its command again"
        )
    epochs = int((record.get("stages") or {stage: record})[stage]["epochs"])
    own = [folder / NAME / name for name in (file_name(epochs), NOTE, TENSORS)]
    tables = sorted((folder / NAME / TABLES).glob("[!.]*"))
    return [*own, *tables]


def _remove_machine_paths(new: Path, record: Mapping[str, Any]) -> None:
    """Write the checkpoint and the note of a packed run again, without paths of this machine.

    The options name the folders of the other stages, which are not packed: their places below OUT
    stay, because an option that is set says that there was such a stage.
    """
    stages = [stage["folder"] for stage in (record.get("stages") or {}).values()]
    for path in (new / NAME).glob("*.safetensors"):
        if path.name != TENSORS:
            tensors, facts = read_checkpoint(path)
            facts["options"] = without_paths(facts["options"], stages)
            write_tensors(path, tensors, {NAME: json.dumps(facts)})
    note = read_checked(new / NAME / NOTE)[0]
    note["settings"] = without_paths(note["settings"])
    write_checked(new / NAME / NOTE, note)


def _pack_weights(new: Path, source: str, record: Mapping[str, Any]) -> None:
    """Copy the CLIP weights, but for those that every installation has.

    Raises:
        ConfigError: they are not the run's.
    """
    from loreal_plugin.data.demo import DEMO_WEIGHTS
    from loreal_plugin.weights import weights_fingerprint, weights_place

    if weights_fingerprint(source) != record["weights"]["sha256"]:
        raise ConfigError(f"weights '{source}' are not those of the run; name them with --weights")
    if source in DEMO_WEIGHTS:
        return
    path = weights_place(source)
    (new / WEIGHTS).mkdir()
    shutil.copyfile(path, new / WEIGHTS / path.name)


def _write_description(new: Path, own: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Write record, configuration, card and hashes of what lies in a packed run.

    Args:
        own: the record of the packed stage.
        record: of the run, with its table.
    """
    sums = {path.relative_to(new).as_posix(): digest_file(path) for path in _all(new)}
    own["weights"] = own["weights"] | {"name": weights_facts(own["weights"])["name"]}
    own |= {name: without_paths(own[name]) for name in ("config", "overrides") if name in own}
    own["files"] = {name: sums[name] for name in own["files"] if name in sums}
    write_record(new, own)
    note = read_checked(new / NAME / NOTE)[0]
    config = {name: own.get(name) for name in _DESCRIBES}
    config |= {"weights": weights_facts(own["weights"]), "host": own["host"]}
    config |= {"classes": note["classnames"][note["trained_on"]], "attributes": own["attributes"]}
    config |= {"settings": own["config"], "versions": own["versions"]}
    write_json(new / CONFIG, config)
    packed = (new / WEIGHTS).is_dir()
    write_text(new / CARD, pack_card(config, record, new.name, packed=packed))
    lines = [f"{digest_file(path)}  {path.relative_to(new).as_posix()}\n" for path in _all(new)]
    write_text(new / SUMS, "".join(lines))


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
