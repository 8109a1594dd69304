"""Getting a dataset: each missing part from the first origin that has it, into its place.

Downloads and what is unpacked of them lie in `DATA/.loreal-get/<name>/`, on the same disk, so that
a part comes into its place by one renaming: a dataset's folder has whole parts only, and whatever
ends a call, the next one goes on. Nothing that is already there is replaced.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from loreal_plugin.digests import digest_file
from loreal_plugin.download.arrange import find, is_kind, place, unpack_inner
from loreal_plugin.download.inspect import Inspection, inspecting
from loreal_plugin.download.origins import Origin, check_given, origins
from loreal_plugin.download.table import Dataset, Part, dataset_row
from loreal_plugin.download.transfer import compare, fetch
from loreal_plugin.errors import ArchiveError, DataError, TransferError
from loreal_plugin.files import read_json, write_json
from loreal_plugin.files.archives import is_archive, unpack
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.plain_output import Say

WORK = ".loreal-get"
RECORD = "loreal_sources.json"  # beside the parts: where each file came from, with its hash
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = 2.1  # an archive and what is in it


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
    with inspecting(data) as inspector, _work_folder(data, name, say) as work:
        folder = data / inspector.layout(name).dataset_dir
        Getter(row, data, folder, work, tuple(given), say).run()
        found = inspector.inspect(name)
        if not found.fault:
            shutil.rmtree(work)  # what sources left that were passed over
        if found.fault or found.classes != row.classes:
            _say_links(row, folder, say)
        return found


def _say_links(row: Dataset, folder: Path, say: Say) -> None:
    """Say which parts are links: one to another dataset is not replaced by a later call."""
    for path in (folder / path for part in row.parts for path in part.gives):
        if path.is_symlink():
            say(f"  {path} is a link to {path.resolve()}; remove it where that is not {row.title}")


@contextmanager
def _work_folder(data: Path, name: str, say: Say) -> Iterator[Path]:
    """Yield the folder of downloads, held by one process; removed when nothing is left in it.

    The file of the lock stays: a process that waits for it may have it open.
    """
    work = data / WORK / name
    try:
        work.parent.mkdir(exist_ok=True)
        with _held(work, say):
            work.mkdir(exist_ok=True)
            try:
                yield work
            finally:
                shutil.rmtree(work / "unpacked", ignore_errors=True)
                with suppress(OSError):  # not empty
                    work.rmdir()
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(
                f"disk full at {data}; free some space and run the same command again: it goes on"
                " with what has arrived"
            ) from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            place = error.filename2 or error.filename
            raise DataError(f"{place} is in the way ({error.strerror}); remove it") from error
        raise


@contextmanager
def _held(work: Path, say: Say) -> Iterator[None]:
    """Hold a dataset's lock; while another process holds it, say so once and wait."""
    lock = shared_lock(work.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"  another command gets {work.name}; waiting for it (interrupt to give up)")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
    tried: set[str] = field(default_factory=set)

    def missing(self, part: Part) -> list[str]:
        """Return the paths of a part that are not there."""
        return [path for path in part.gives if not is_kind(self.folder / path, path)]

    def run(self) -> None:
        """Get every part that is missing and can be had; say what cannot."""
        for part in self.row.parts:
            if self.missing(part):
                self.get(part)

    def get(self, part: Part) -> None:
        """Get one part from the first origin that has it."""
        for origin in origins(self.row, part, self.given, self.data):
            if origin.label in self.tried:
                continue
            self.tried.add(origin.label)
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
        facts = self.facts(origin, file)
        try:
            self.put(file, part)
        except ArchiveError:
            if not origin.path:
                file.unlink()  # or the next call would take it for what the server has
            raise
        self.record(file.name, facts)
        if not origin.path:
            file.unlink()

    def put(self, file: Path, part: Part) -> None:
        """Put what is in an archive, or a file that is itself a part, into its place.

        Raises:
            ArchiveError: it is neither, or damaged.
        """
        if is_archive(file):
            self.unpacked(file, part)
            return
        given = [path for one in self.row.parts for path in one.gives]
        # paths of folders have no suffix: no file takes their place
        alike = [path for path in given if Path(path).suffix == file.suffix != ""]
        wanted = [path for path in alike if Path(path).name == file.name] or alike
        if len(wanted) != 1:
            raise ArchiveError(
                f"{file} is no whole archive, and none of {', '.join(given)}; get it again"
            )
        target = self.folder / wanted[0]
        if not is_kind(target, wanted[0]):
            own = self.work / "own"
            shutil.copyfile(file, own)
            place(own, target, link=False)
            self.say(f"  placed: {target}")

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
                found = find(tree, part, path, {self.row.name, self.folder.name})
                if len(found) > 1:
                    places = ", ".join(str(one.relative_to(tree)) for one in found)
                    self.say(
                        f"  several '{path}' below {tree}: {places}; name the folder of"
                        f" {self.row.name} itself"
                    )
                elif found:
                    place(found[0], self.folder / path, link=link)
                    self.say(f"  {'linked' if link else 'placed'}: {self.folder / path}")

    def facts(self, origin: Origin, file: Path) -> dict[str, Any]:
        """Return where a file came from, with its hash; say the hash."""
        published = bool(origin.source and origin.source.hash)
        sha256 = digest_file(file)
        known = "as published" if published else "no hash is published; compare with others' copies"
        self.say(f"  {file.name}: SHA-256 {sha256} ({known})")
        size = file.stat().st_size
        return {"from": origin.label, "bytes": size, "sha256": sha256, "as_published": published}

    def record(self, name: str, facts: dict[str, Any]) -> None:
        """Note a file in the dataset's folder, where something of it was placed."""
        if self.folder.is_dir():
            place_of = self.folder / RECORD
            write_json(place_of, {**(read_json(place_of) or {}), name: facts})
