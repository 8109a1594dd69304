"""Getting a dataset: each missing part from the first origin that has it, into its place.

Downloads and what is unpacked of them lie in `DATA/.loreal-get/<name>/`, on the same disk, so that
a part comes into its place by one renaming: a dataset's folder has whole parts only, and whatever
ends a call, the next one goes on. Nothing that is already there is replaced.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loreal_plugin.digests import digest_file
from loreal_plugin.download.arrange import find, place, unpack_inner
from loreal_plugin.download.inspect import Inspection, inspecting
from loreal_plugin.download.origins import Origin, check_given, origins
from loreal_plugin.download.table import Dataset, Part, dataset_row
from loreal_plugin.download.transfer import compare, fetch
from loreal_plugin.errors import ArchiveError, DataError, TransferError
from loreal_plugin.files import read_json, write_json
from loreal_plugin.files.archives import is_archive, unpack
from loreal_plugin.files.locks import shared_lock

WORK = ".loreal-get"
RECORD = "loreal_sources.json"  # beside the parts: where each file came from, with its hash
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = 2.1  # an archive and what is in it
Say = Callable[[str], None]


def get_dataset(
    name: str, data: Path, *, given: Sequence[str] = (), say: Say = print
) -> Inspection:
    """Bring a dataset below DATA and return what is there then.

    Args:
        name: of the table.
        data: DATA; it is made where its parent is there.
        given: files, folders or mirrors to take it from instead of the table's servers.
        say: prints one line.

    Raises:
        DataError: no such dataset, place or room.
    """
    row = dataset_row(name)
    check_given(given)
    try:
        data.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"DATA {data} cannot be made: {error.strerror}") from error
    with inspecting(data) as inspector, _work_folder(data, name) as work:
        folder = data / inspector.layout(name).dataset_dir
        Getter(row, data, folder, work, tuple(given), say).run()
        found = inspector.look(name)
        if not found.fault:
            shutil.rmtree(work)  # what sources left that were passed over
        return found


@contextmanager
def _work_folder(data: Path, name: str) -> Iterator[Path]:
    """Yield the folder of downloads, held by one process; removed when nothing is left in it."""
    work = data / WORK / name
    try:
        work.mkdir(parents=True, exist_ok=True)
        with shared_lock(work.with_suffix(".lock")):
            yield work
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"disk full at {data}; free some space and run the same command again: it goes on with"
            " what has arrived"
        ) from error
    finally:
        shutil.rmtree(work / "unpacked", ignore_errors=True)
        _tidy(work)


def _tidy(work: Path) -> None:
    """Remove an empty folder of downloads, and the folder around it when no other is in it."""
    with suppress(OSError):  # not there, or not empty
        work.rmdir()
    if work.parent.is_dir() and not [path for path in work.parent.iterdir() if path.is_dir()]:
        shutil.rmtree(work.parent, ignore_errors=True)


@dataclass
class Getter:
    """Gets the missing parts of one dataset.

    Attributes:
        row: of the table.
        data: DATA.
        folder: of the dataset.
        work: where downloads lie until they are in their places.
        given: what was named instead of the table's servers.
        say: prints one line.
    """

    row: Dataset
    data: Path
    folder: Path
    work: Path
    given: tuple[str, ...]
    say: Say
    spent: set[str] = field(default_factory=set)

    def missing(self, part: Part) -> list[str]:
        """Return the paths of a part that are not there."""
        return [path for path in part.gives if not (self.folder / path).exists()]

    def run(self) -> None:
        """Get every part that is missing and can be had; say what cannot."""
        for part in self.row.parts:
            if self.missing(part):
                self.get(part)

    def get(self, part: Part) -> None:
        """Get one part from the first origin that has it."""
        for origin in origins(self.row, part, self.given, self.data):
            if origin.label in self.spent:
                continue
            self.spent.add(origin.label)
            try:
                self.take(origin, part)
            except (TransferError, ArchiveError) as error:
                self.say(f"  {error}")
            if not self.missing(part):
                return
        self.say(f"  {self.row.name}: nothing gave {', '.join(self.missing(part))}")

    def take(self, origin: Origin, part: Part) -> None:
        """Take from one origin the part and whatever else of the dataset is missing and there.

        Raises:
            TransferError, ArchiveError: it cannot be had, or is not what it should be.
        """
        if origin.path and origin.path.is_dir():
            self.place_from(origin.path, link=True)
            return
        file = origin.path or self.download(origin)
        if origin.path and origin.source:
            compare(file, origin.source)
        self.record(origin, file)
        if is_archive(file):
            self.unpacked(file, part)
        elif len(part.gives) == 1:
            own = self.work / "own"
            shutil.copyfile(file, own)
            place(own, self.folder / part.gives[0], link=False)
        if not origin.path:
            file.unlink()

    def download(self, origin: Origin) -> Path:
        """Return the file of a server, once there is room for it and for what is in it."""
        assert origin.source is not None
        free, needed = shutil.disk_usage(self.work).free, origin.source.size * _ROOM
        if needed > free:
            raise DataError(
                f"{self.row.name} needs about {needed / 1e9:.1f} GB at {self.data}, where"
                f" {free / 1e9:.1f} GB are free; free some space, or name another DATA"
            )
        self.say(f"  from {origin.label}")
        return fetch(origin.source, self.work)

    def unpacked(self, archive: Path, part: Part) -> None:
        """Unpack an archive and put what is missing of the dataset into its places."""
        tree = self.work / "unpacked"
        shutil.rmtree(tree, ignore_errors=True)
        unpack(archive, tree)
        self.place_from(tree, link=False)
        if self.missing(part) and unpack_inner(tree):
            self.place_from(tree, link=False)
        shutil.rmtree(tree)

    def place_from(self, tree: Path, *, link: bool) -> None:
        """Put what is missing of the dataset and lies in a tree into its places."""
        for part in self.row.parts:
            for path in self.missing(part):
                found = find(tree, part, path)
                if found:
                    place(found, self.folder / path, link=link)
                    self.say(f"  {'linked' if link else 'placed'}: {self.folder / path}")

    def record(self, origin: Origin, file: Path) -> None:
        """Note in the dataset's folder where a file came from, and its hash; say the hash."""
        published = bool(origin.source and origin.source.hash)
        facts = {
            "from": origin.label,
            "bytes": file.stat().st_size,
            "sha256": digest_file(file),
            "as_published": published,
        }
        known = "as published" if published else "no hash is published; compare with others' copies"
        self.say(f"  {file.name}: SHA-256 {facts['sha256']} ({known})")
        place_of = self.folder / RECORD
        write_json(place_of, {**(read_json(place_of) or {}), file.name: facts})
