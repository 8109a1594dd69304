"""The journal of a patch, `.loreal-patch.json` in the host: written first, removed last."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from loreal_plugin.errors import HostError
from loreal_plugin.files import digest_bytes, replacing
from loreal_plugin.patch.changes import PatchPlan

NAME = ".loreal-patch.json"
VERSION = 1
PATCHED, UNFINISHED = "patched", "unfinished"


@dataclass(frozen=True)
class Entry:
    """A file that the patch put there: a link to `source`, or a copy with the hash `sha256`."""

    path: str
    source: str
    sha256: str
    copy: bool

    def changed_in(self, host: Path) -> bool:
        """Say whether something else stands in its place now (nothing at all is no change)."""
        target = host / self.path
        if not os.path.lexists(target):
            return False
        if not self.copy:
            return not (target.is_symlink() and os.readlink(target) == self.source)
        return (
            target.is_symlink()
            or not target.is_file()
            or digest_bytes(target.read_bytes()) != self.sha256
        )


@dataclass(frozen=True)
class Journal:
    """What a patch does or did: `state` is `patched` when all of it stands, else `unfinished`."""

    state: str
    before: str
    after: str
    files: tuple[Entry, ...]
    folders: tuple[str, ...]


def journal_of(plan: PatchPlan, state: str) -> Journal:
    """Return the journal of a plan."""
    files = tuple(
        Entry(one.path, str(one.source), one.sha256 if one.copy else "", one.copy)
        for one in plan.added
    )
    return Journal(state, digest_bytes(plan.before), digest_bytes(plan.after), files, plan.folders)


def read_journal(host: Path) -> Journal | None:
    """Return the journal in a host, None where it has none.

    Raises:
        HostError: it cannot be read, or another version of this project wrote it.
    """
    path = host / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("version")
        if version != VERSION:
            raise ValueError(f"version {version}, this is {VERSION}")
        content["files"] = tuple(Entry(**entry) for entry in content["files"])
        return Journal(**{**content, "folders": tuple(content["folders"])})
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"{path} cannot be read ({error}); it says what to take back, so mend or restore it"
        ) from error


def write_journal(host: Path, journal: Journal) -> None:
    """Write the journal, whole or not at all."""
    text = json.dumps({"version": VERSION, **asdict(journal)}, indent=1)
    with replacing(host / NAME) as part:
        part.write_text(text, encoding="utf-8")
