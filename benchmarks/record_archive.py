"""Records of finished runs in an archive: packed from output folders, and unpacked."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from loreal_plugin.errors import LorealError
from loreal_plugin.files import replacing
from loreal_plugin.files.archives import unpack
from loreal_plugin.results.reader import is_set_aside
from loreal_plugin.results.record import RESULTS, read_record


def pack(outs: Sequence[Path], to: Path) -> int:
    """Pack the records below output folders; the same records give the same bytes.

    Args:
        outs: where a run is in several of them, the last one's record is taken. The record of a
            training alone is none of its run: a run with other settings of the adaptation trains
            the same stage 3 in its folder. Of the same test, the first record is taken: it stands
            for the run that made it.

    Returns:
        how many there are.

    Raises:
        LorealError: a folder has none, or a damaged one.
    """
    found: dict[str, bytes] = {}
    for out in outs:
        records = dict(_records(out))
        if not records:
            raise LorealError(f"no {RESULTS} below {out}; name the output folder of finished runs")
        found |= {name: _fuller(found.get(name), content) for name, content in records.items()}
    with replacing(to) as temporary, tarfile.open(temporary, "w:xz", preset=9) as packed:
        for name, content in sorted(found.items()):
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            packed.addfile(facts, io.BytesIO(content))
    return len(found)


def _fuller(earlier: bytes | None, later: bytes) -> bytes:
    """Return the later of two records of one place; the earlier, where it is the same test, or it
    alone has a run's rows of the same training.
    """
    if earlier is None:
        return later
    old, new = json.loads(earlier), json.loads(later)
    kept = old["kind"] == "evaluation" or "rows" in old.keys() - new.keys()
    return earlier if old["key"] == new["key"] and kept else later


def _records(out: Path) -> Iterator[tuple[str, bytes]]:
    """Give the path and content of each record of a run; those of replaced runs are nobody's."""
    for path in out.rglob(RESULTS):
        if is_set_aside(path):
            continue
        content, fault = read_record(path)
        if fault:
            raise LorealError(f"{path} {fault}")
        if content["kind"] != "sweep":
            yield path.relative_to(out).as_posix(), path.read_bytes()


def unpacked(packed: Path, folder: Path) -> Path:
    """Write packed records into a folder; return it.

    Raises:
        LorealError: there is no archive, or a damaged one.
    """
    if not packed.is_file():
        raise LorealError(f"{packed} is not there; `pack` makes it from finished runs")
    unpack(packed, folder)
    return folder
