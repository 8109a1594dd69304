"""Patching a host and taking it back.

Order of a patch: journal, folders and files, `train.py`, journal. Until `train.py` is replaced the
host behaves as before, from then on as patched. Whatever stops in between is taken back at once,
or, after a kill, by the next `loreal patch` or `loreal unpatch`, which reads the journal. Taking
back goes the other way: `train.py` first.
"""

from __future__ import annotations

import dataclasses
import stat
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.errors import HostError
from loreal_plugin.files import digest_bytes, remove_unfinished, replacing, write_link
from loreal_plugin.patch.changes import TRAIN, Added, PatchPlan, check_conflicts, plan_patch
from loreal_plugin.patch.journal import (
    NAME,
    PATCHED,
    UNFINISHED,
    Journal,
    journal_of,
    read_journal,
    write_journal,
)
from loreal_plugin.patch.lines import BEGIN, unified_diff, without_lines


@dataclass(frozen=True)
class Outcome:
    """What was, or would be, done: lines about files, the difference of train.py, and remarks."""

    diff: str
    files: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def patch_host(
    host: Path, *, copy: bool = False, dry_run: bool = False, method: str = ""
) -> Outcome:
    """Put our trainers, configs and scripts into a host, and the lines into its train.py.

    A host that is patched already, in the same way, is left as it is; a half or another patch is
    redone.

    Args:
        copy: copy files; else link to ours.
        dry_run: only say what would be done.
        method: bring this method's trainer and recipes alone; `all`: those of every method that it
            has; empty: it has one alone.

    Raises:
        HostError: see `plan_patch` and `check_conflicts`; or a file of an earlier patch was changed
            since.
    """
    host = host.expanduser().resolve()
    journal = read_journal(host)
    plan = plan_patch(host, copy=copy, method=method)
    if journal is None and BEGIN in (host / TRAIN).read_bytes():
        raise HostError(
            f"{host / TRAIN} has the lines of a patch, but {NAME} is gone; restore train.py first"
        )
    if journal is not None:
        _check_unchanged(host, journal)
        if _is_applied(plan, journal):
            return Outcome("", (), (f"{host} is patched already",))
        if digest_bytes(plan.before) != journal.before:
            raise HostError(
                f"{host / TRAIN} was changed since the patch; run `loreal unpatch` first, which"
                " keeps that"
            )
    check_conflicts(plan, None if journal is None else [entry.path for entry in journal.files])
    if journal is not None and not dry_run:
        _take_back(host, journal)
        plan = plan_patch(host, copy=copy, method=method)
    kind = "copy" if copy else "link"
    outcome = Outcome(
        unified_diff(plan.before, plan.after, TRAIN),
        tuple(f"{kind} {a.path} -> {a.source}" for a in plan.added),
    )
    if not dry_run:
        _apply(plan)
    return outcome


def unpatch_host(host: Path, *, dry_run: bool = False) -> Outcome:
    """Take a patch back, whole or half: the host is as it was, byte for byte, but for changes that
    are not ours.

    Raises:
        HostError: the host is not patched; or a file of the patch was changed since.
    """
    host = host.expanduser().resolve()
    journal = read_journal(host)
    if journal is None:
        remove_unfinished(host / NAME)
        raise HostError(f"{host} is not patched: it has no {NAME}")
    _check_unchanged(host, journal)
    now = (host / TRAIN).read_bytes()
    before = without_lines(now)
    remarks = (
        []
        if digest_bytes(before) == journal.before
        else ["train.py was changed since the patch; your changes stay"]
    )
    outcome = Outcome(
        unified_diff(now, before, TRAIN), tuple(f"remove {entry.path}" for entry in journal.files)
    )
    if not dry_run:
        remarks += [
            f"{folder} stays: it holds files that are not ours"
            for folder in _take_back(host, journal)
        ]
    return dataclasses.replace(outcome, remarks=tuple(remarks))


def _check_unchanged(host: Path, journal: Journal) -> None:
    changed = [entry.path for entry in journal.files if entry.changed_in(host)]
    if changed:
        raise HostError(
            f"changed since {host} was patched: {', '.join(changed)}; they would be lost: move them"
            " elsewhere first"
        )


def _is_applied(plan: PatchPlan, journal: Journal) -> bool:
    """Say whether a host is patched as planned; folders that exist are not planned again."""
    return (
        journal.state == PATCHED
        and set(journal.files) <= set(journal_of(plan, PATCHED).files)
        and all(one.is_in(plan.host) for one in plan.added)
        and (plan.host / TRAIN).read_bytes() == plan.after
    )


def _apply(plan: PatchPlan) -> None:
    """Patch; an error or an interruption takes everything back before it goes on."""
    journal = journal_of(plan, UNFINISHED)
    # what the host has already, equal to ours, is not ours to remove
    to_add = tuple(
        e for e, one in zip(journal.files, plan.added, strict=True) if not one.is_in(plan.host)
    )
    journal = dataclasses.replace(journal, files=to_add)
    paths = {entry.path for entry in to_add}
    try:
        write_journal(plan.host, journal)
        for folder in plan.folders:
            (plan.host / folder).mkdir(exist_ok=True)
        for one in plan.added:
            if one.path in paths:
                _add(plan.host, one)
        _replace_train(plan.host, plan.after)
        write_journal(plan.host, dataclasses.replace(journal, state=PATCHED))
    except BaseException:
        _take_back(plan.host, journal)
        raise


def _add(host: Path, one: Added) -> None:
    """Put one file in place, in one step."""
    target = host / one.path
    if not one.copy:
        write_link(target, one.source)
        return
    with replacing(target, mode=stat.S_IMODE(one.source.stat().st_mode)) as part:
        part.write_bytes(one.source.read_bytes())


def _replace_train(host: Path, content: bytes) -> None:
    """Give train.py another content; its permissions stay."""
    train = host / TRAIN
    if train.read_bytes() != content:
        with replacing(train, mode=stat.S_IMODE(train.stat().st_mode)) as part:
            part.write_bytes(content)


def _take_back(host: Path, journal: Journal) -> list[str]:
    """Undo what a journal lists, as far as it was done; return folders that hold others' files."""
    _replace_train(host, without_lines((host / TRAIN).read_bytes()))
    if (host / NAME).is_file():
        write_journal(host, dataclasses.replace(journal, state=UNFINISHED))
    remove_unfinished(host / TRAIN)
    for entry in journal.files:
        target = host / entry.path
        remove_unfinished(target)
        target.unlink(missing_ok=True)
        if target.suffix == ".py":
            for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
                compiled.unlink()
    left = []
    for folder in sorted(journal.folders, key=len, reverse=True):
        try:
            (host / folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(folder)
    remove_unfinished(host / NAME)
    (host / NAME).unlink(missing_ok=True)
    return left
