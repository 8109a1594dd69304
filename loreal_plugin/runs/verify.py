"""Whether the files below a folder are as they were written: what `loreal verify` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loreal_plugin.files.checked_json import CHECKED, OLD, OWN, parse_checked
from loreal_plugin.files.manifest import SUMS, damage, read_sums
from loreal_plugin.results.reader import is_set_aside
from loreal_plugin.results.record import RESULTS, STARTED, is_newer, read_record

CHECKABLE = (".json", ".seconds")
# what tensors lie beside the note that has their hash
_TENSORS = (".safetensors", ".pt")
_MARKS = (f'"{CHECKED}"'.encode(), f'"{OWN}"'.encode())
HEAL = "run the same command again: what is damaged is made anew"


@dataclass
class Verification:
    """What was found below a folder.

    Attributes:
        verified: files that are as they were written.
        old: files that were made before hashes were kept.
        damaged: file -> what is wrong with it.
    """

    verified: set[Path] = field(default_factory=set)
    old: set[Path] = field(default_factory=set)
    damaged: dict[Path, str] = field(default_factory=dict)


def verify(folder: Path) -> Verification:
    """Return what is found in a run's folder, an output folder, or a cache.

    What was moved away for another run (`.replaced`) is left out.
    """
    found = Verification()
    for path in [*_files(folder), *_other_stages(folder, found)]:
        if path.name == SUMS:
            _verify_vouched(path, _listed(path, found), found)
        elif path.suffix in CHECKABLE:
            _verify_json(path, found)
    vouched = found.verified | found.damaged.keys()
    for path in _files(folder):
        checkpoint = path.suffix in _TENSORS or path.name.startswith("model.pth.tar-")
        if checkpoint and path not in vouched:
            found.old.add(path)
    return found


def _other_stages(folder: Path, found: Verification) -> Iterator[Path]:
    """Yield the files of a run's stages that lie beside its folder, in the output folder; a stage
    without a record is damage.
    """
    stages = (read_record(folder / RESULTS)[0].get("stages") or {}).values()
    for out in folder.resolve().parents:
        places = {out / stage["folder"] for stage in stages}
        others = sorted(places - {folder.resolve()})
        if any((place / RESULTS).is_file() for place in places):
            for place in others:
                if not (place / RESULTS).is_file():
                    found.damaged[place / RESULTS] = "is missing, a stage of this run"
                yield from _files(place)
            return


def _listed(path: Path, found: Verification) -> dict[str, Any]:
    """Return what a package's SHA256SUMS lists, in the form of a record."""
    files = read_sums(path)
    if files is None:
        found.damaged[path] = "has lines that are no hash and name"
    else:
        found.verified.add(path)
    return {"files": files or {}}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and not is_set_aside(path):
            yield path


def _verify_json(path: Path, found: Verification) -> None:
    """Verify one JSON file and the files that it vouches for."""
    content = path.read_bytes()
    value, fault = parse_checked(content)
    ours = path.name in (RESULTS, STARTED) or any(mark in content for mark in _MARKS)
    if fault == OLD:
        if ours:
            found.old.add(path)
    elif not fault and path.name == RESULTS and not is_newer(value):
        fault = read_record(path)[1]
    if fault and fault != OLD:
        if ours:
            found.damaged[path] = fault
        return
    if not fault:
        found.verified.add(path)
    _verify_vouched(path, value, found)


def _verify_vouched(path: Path, value: dict[str, Any], found: Verification) -> None:
    """Verify what a record, a journal or a note vouches for."""
    hashes = dict(value.get("files") or {}) if path.name in (RESULTS, STARTED, SUMS) else {}
    if path.name == STARTED and (path.parent / RESULTS).is_file():
        hashes = {}  # the record knows better
    if isinstance(value.get("sha256"), str) and path.name not in (RESULTS, STARTED):
        beside = [path.with_suffix(suffix) for suffix in _TENSORS]
        there = [one for one in beside if one.is_file()] or beside[:1]
        hashes = {there[0].name: value["sha256"]}
    broken = damage(path.parent, hashes)
    for name in hashes:
        file = path.parent / name
        fault = next((text for text in broken if text.startswith(f"{file} ")), "")
        if fault:
            found.damaged[file] = fault.removeprefix(f"{file} ")
        elif file not in found.damaged:
            found.verified.add(file)
