"""A run that somebody packed (`loreal pack`): an archive is unpacked once, into the cache.

A packed run is a folder that opens as a finished run does; `clip/` in it has the CLIP weights,
where they were packed, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from loreal_plugin.digests import digest_file
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.archives import is_archive, unpack
from loreal_plugin.files.folders import preparing
from loreal_plugin.files.manifest import SUMS, damage, read_sums
from loreal_plugin.paths import cache_root

WEIGHTS = "clip"
RECORD = "results.json"


def unpacked(path: Path) -> Path:
    """Return a path as it is, or for an archive the folder of the run that was packed in it.

    Raises:
        CheckpointError: the archive holds no run, or a damaged one.
        ArchiveError: it is damaged, or would write what it must not.
    """
    if not is_archive(path):
        return path
    place = cache_root() / "packed" / digest_file(path)[:16]
    if not place.is_dir():
        with preparing(place) as prepared:
            fresh = prepared / "run"
            unpack(path, fresh)
            _check(_run_in(fresh, path), path)
            if not place.is_dir():  # another process may have been faster
                os.replace(fresh, place)
    return _run_in(place, path)


def packed_weights(folder: Path) -> str | None:
    """Return the file of CLIP weights that lies in a packed run, None where there is none."""
    found = sorted((folder / WEIGHTS).glob("*"))
    return str(found[0]) if found else None


def _run_in(folder: Path, archive: Path) -> Path:
    """Return the folder with a record: the archive's own, or the only one in it."""
    found = sorted(path.parent for path in (*folder.glob(RECORD), *folder.glob(f"*/{RECORD}")))
    if len(found) != 1:
        raise CheckpointError(
            f"{archive} holds {len(found)} runs; name an archive that loreal pack wrote"
        )
    return found[0]


def _check(folder: Path, archive: Path) -> None:
    """Raise CheckpointError where a file in an archive is not what its hash says."""
    sums = read_sums(folder / SUMS) if (folder / SUMS).is_file() else None
    if not sums or RECORD not in sums:
        raise CheckpointError(f"{archive} has no {SUMS} of its files; copy the archive again")
    for text in damage(folder, sums):
        raise CheckpointError(
            f"{archive}: {text.removeprefix(f'{folder}/')}; copy the archive again"
        )
