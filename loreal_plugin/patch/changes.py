"""What a patch would add to a host, and what stands against it; read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.attach.inspect_host import methods_of
from loreal_plugin.contract import get_contract
from loreal_plugin.contract.trainer_names import trainers_of
from loreal_plugin.errors import HostError, unknown_name
from loreal_plugin.files import digest_bytes
from loreal_plugin.patch.lines import with_lines, without_lines
from loreal_plugin.paths import bundle_root, embedded_host

TRAIN = "train.py"
SCRIPTS = "scripts/loreal"
ALL = "all"


@dataclass(frozen=True)
class Added:
    """A file that a patch adds: `path` in the host, `source` what it links to or copies."""

    path: str
    source: Path
    copy: bool

    @property
    def sha256(self) -> str:
        """Return the hash of its content."""
        return digest_bytes(self.source.read_bytes())

    def is_in(self, host: Path) -> bool:
        """Say whether the host has exactly this file."""
        target = host / self.path
        if self.copy:
            return (
                target.is_file()
                and not target.is_symlink()
                and digest_bytes(target.read_bytes()) == self.sha256
            )
        return target.is_symlink() and os.readlink(target) == str(self.source)


@dataclass(frozen=True)
class PatchPlan:
    """Everything a patch does to a host: `before` and `after` are the bytes of its train.py."""

    host: Path
    methods: tuple[str, ...]
    added: tuple[Added, ...]
    folders: tuple[str, ...]
    before: bytes
    after: bytes


def plan_patch(host: Path, *, copy: bool, method: str = "") -> PatchPlan:
    """Return what a patch of `host` does; lines of an earlier one are looked through.

    Args:
        method: the one whose trainer and recipes are brought; `all`: those of every method that
            the host has; empty: the host has one alone.

    Raises:
        HostError: no such folder, the embedded host itself, no trainer that a contract row knows,
            not the method's, several and none was chosen, or a train.py that cannot take the lines.
    """
    train = host / TRAIN
    if not train.is_file() or train.is_symlink():
        raise HostError(
            f"host {host} has no train.py of its own; give the root of a CoOp-family checkout"
        )
    if host == embedded_host():
        raise HostError(
            "the embedded host needs no patch: `loreal train` runs our trainers on it; patch a copy"
            " of it"
        )
    methods = methods_of(host)
    if not methods:
        found = ", ".join(trainers_of(host)) or "none"
        raise HostError(
            f"host {host} has no trainer with a contract row (trainers there: {found}); see"
            " docs/HOSTS.md"
        )
    methods = _chosen(method, methods, host)
    before = without_lines(train.read_bytes())
    added = [Added(path, source, copy) for path, source in _files(methods)]
    # a dataset's YAML that the host has is the host's; ours are for datasets it lacks
    added = [
        one
        for one in added
        if not (
            one.path.startswith("configs/datasets/")
            and (host / one.path).is_file()
            and not one.is_in(host)
        )
    ]
    folders = sorted(
        {str(parent) for one in added for parent in Path(one.path).parents if str(parent) != "."}
    )
    new = tuple(folder for folder in folders if not (host / folder).is_dir())
    return PatchPlan(host, tuple(methods), tuple(added), new, before, with_lines(before))


def _chosen(method: str, methods: list[str], host: Path) -> list[str]:
    """Return the methods of a host whose files are brought; HostError: see `plan_patch`."""
    if method == ALL:
        return methods
    if method and method not in methods:
        raise HostError(
            f"{unknown_name('method', method, [*methods, ALL])}: these have a trainer in host"
            f" {host}"
        )
    if not method and len(methods) > 1:
        raise HostError(
            f"host {host} has trainers of {', '.join(methods)}: choose the one whose files are"
            f" brought with --method {methods[0]}, or --method {ALL}"
        )
    return [method] if method else methods


def _files(methods: Iterable[str]) -> list[tuple[str, Path]]:
    """Return (path in the host, our file) of every trainer, config and script for some methods."""
    root = bundle_root()
    found = []
    for row in map(get_contract, methods):
        found.append((row.trainer_file.relative_to(row.home).as_posix(), row.trainer_file))
        found += _below(row.home, row.recipes.relative_to(row.home).as_posix(), "*.yaml")
    # a first run needs `demo`; its target worlds belong to protocols, which `loreal` runs
    datasets = [
        (path, file)
        for path, file in _below(root, "configs/datasets", "*.yaml")
        if not file.name.startswith("demo-")
    ]
    return found + datasets + _below(root, SCRIPTS, "*.sh")


def _below(root: Path, folder: str, pattern: str) -> list[tuple[str, Path]]:
    """Return (path in the host, our file) of the files in one of our folders."""
    return [(f"{folder}/{file.name}", file) for file in sorted((root / folder).glob(pattern))]


def check_conflicts(plan: PatchPlan, patched: Collection[str] | None = None) -> None:
    """Check that nothing of the user's would be lost.

    Args:
        patched: paths that an earlier patch put there, None where there is none; its lines are in
            train.py.

    Raises:
        HostError: all files that are in the way or have uncommitted changes, in one message.
    """
    host, already = plan.host, patched or ()
    new = [one for one in plan.added if one.path not in already]
    in_the_way = [
        one.path for one in new if os.path.lexists(host / one.path) and not one.is_in(host)
    ]
    # where a folder is to be made: a file, or a broken link
    in_the_way += [folder for folder in plan.folders if os.path.lexists(host / folder)]
    faults = [f"{path} is there already and is not ours" for path in in_the_way]
    if patched is None:
        faults += [f"{path} has uncommitted changes" for path in uncommitted(host, [TRAIN])]
    if faults:
        raise HostError(
            f"host {host} cannot be patched: {'; '.join(faults)}; commit or move them first"
        )


def uncommitted(host: Path, paths: Iterable[str]) -> list[str]:
    """Return those of the paths that git reports as changed; none without git or repository."""
    status = ["status", "--porcelain", "--untracked-files=no", "--", *paths]
    command = ["git", "-C", str(host), *status]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError:
        return []
    return [line[3:] for line in done.stdout.splitlines()] if done.returncode == 0 else []
