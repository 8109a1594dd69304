"""Patch mode: what is added, what is refused, and that everything comes back byte for byte."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from loreal_plugin.cli.main import main
from loreal_plugin.errors import HostError
from loreal_plugin.patch import apply, journal, patch_host, unpatch_host
from loreal_plugin.patch import changes as plan
from loreal_plugin.patch.lines import BEGIN, with_lines, without_lines
from loreal_plugin.paths import bundle_root, embedded_host

TRAIN = '''"""A host."""
from __future__ import annotations

import argparse


def setup_cfg(args):
    return args


def main(args):
    return setup_cfg(args)


if __name__ == "__main__":
    main(argparse.ArgumentParser().parse_args())
'''
TRAINER = "def load_clip_to_cpu(cfg): ...\n\n\nclass {}: ...\n"
# of a linking patch of the host below: two a link; one for the journal,
# one for train.py, one for the finished journal
N_LINKS = (
    sum(
        len(list(bundle_root().glob(pattern)))
        for pattern in (
            "trainers/coop_loreal.py",
            "trainers/maple_loreal.py",
            "configs/trainers/CoOp_LOREAL/*.yaml",
            "configs/trainers/MaPLe_LOREAL/*.yaml",
            "configs/datasets/[!d]*.yaml",
            "configs/datasets/d[!e]*.yaml",
            "configs/datasets/demo.yaml",
            "scripts/loreal/*.sh",
        )
    )
    - 1
)  # fmt: skip  (the host has caltech101.yaml)
N_CHANGES = 2 * N_LINKS + 3
ALL = ("--method", "all")
patch_all = functools.partial(patch_host, method="all")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Give a host with the trainers of two methods, in a repository with one commit."""
    root = tmp_path / "host"
    for name, text in {
        "train.py": TRAIN,
        "trainers/coop.py": TRAINER.format("CoOp"),
        "trainers/maple.py": TRAINER.format("MaPLe"),
        "datasets/__init__.py": "",
        "configs/datasets/caltech101.yaml": "DATASET: {NAME: Caltech101}\n",
        "scripts/coop/main.sh": "echo\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "train.py").chmod(0o750)
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "host"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


def tree(root: Path) -> dict[str, tuple[str, bytes | str, int]]:
    """Return all below a folder with kind, content and permissions, without git's own folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        if ".git" in path.relative_to(root).parts:
            continue
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[str(path.relative_to(root))] = ("link", os.readlink(path), mode)
        elif path.is_dir():
            found[str(path.relative_to(root))] = ("folder", b"", mode)
        else:
            found[str(path.relative_to(root))] = ("file", path.read_bytes(), mode)
    return found


@pytest.mark.parametrize("copy", [False, True], ids=["link", "copy"])
def test_patch_adds_what_the_host_lacks_and_unpatch_restores_it(host, copy):
    before = tree(host)
    outcome = patch_all(host, copy=copy)
    after = tree(host)
    assert all(after[name] == what for name, what in before.items() if name != "train.py")
    assert after["train.py"][2] == before["train.py"][2]
    new = after.keys() - before.keys()
    for path in (
        "trainers/maple_loreal.py",
        "configs/trainers/CoOp_LOREAL/vit_b16.yaml",
        "scripts/loreal/env.sh",
        "configs/datasets/folder.yaml",
    ):
        assert path in new and (host / path).read_bytes() == (bundle_root() / path).read_bytes()
        assert (host / path).is_symlink() != copy
    assert "trainers/mmrl_loreal.py" not in new
    assert "+    in_host.attach()" in outcome.diff and outcome.diff.startswith("--- a/train.py")
    unpatch_host(host)
    assert tree(host) == before
    assert (
        subprocess.run(["git", "status", "--porcelain"], cwd=host, capture_output=True).stdout
        == b""
    )


def test_dry_run_shows_the_same_and_changes_nothing(host, capsys):
    before = tree(host)
    assert main(["patch", *ALL, str(host), "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert tree(host) == before and "nothing was changed" in dry
    assert main(["patch", *ALL, str(host)]) == 0
    wet = capsys.readouterr().out
    assert wet.splitlines()[:-1] == dry.splitlines()[:-1] and "+# >>> loreal patch" in wet
    patched = tree(host)
    assert main(["unpatch", str(host), "--dry-run"]) == 0
    assert "-# >>> loreal patch" in capsys.readouterr().out and tree(host) == patched


def test_patching_twice_is_patching_once_and_link_becomes_copy(host):
    before = tree(host)
    patch_all(host)
    linked = tree(host)
    assert patch_all(host).remarks == (f"{host} is patched already",) and tree(host) == linked
    patch_all(host, copy=True)
    assert not (host / "trainers/coop_loreal.py").is_symlink()
    unpatch_host(host)
    assert tree(host) == before


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]) -> None:
    """Let the `number`-th change of the file system raise."""
    left = [number]

    def counted(call):
        def run(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise error("stopped")
            return call(*args, **kwargs)

        return run

    monkeypatch.setattr(os, "symlink", counted(os.symlink))
    monkeypatch.setattr(os, "replace", counted(os.replace))


@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionError])
@pytest.mark.parametrize("number", [1, 2, 3, 9, N_CHANGES - 2, N_CHANGES - 1, N_CHANGES])
def test_interrupted_patch_leaves_the_old_state(host, monkeypatch, number, error):
    before = tree(host)
    with monkeypatch.context() as patch:
        stop_at(patch, number, error)
        with pytest.raises(error, match="stopped"):
            patch_all(host)
    assert tree(host) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_patch_that_is_told_to_end_takes_everything_back(host, monkeypatch, capsys, number):
    before, handler, left = tree(host), signal.getsignal(number), [4]

    def link(*args):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)
        return os_symlink(*args)

    os_symlink = os.symlink
    monkeypatch.setattr(os, "symlink", link)
    assert main(["patch", *ALL, str(host)]) == 130 and "interrupted" in capsys.readouterr().err
    assert left == [0] and tree(host) == before and signal.getsignal(number) == handler


class Killed(BaseException):
    """Ends a process in the middle: nothing is taken back."""


@pytest.mark.parametrize("way", ["patch", "unpatch"])
@pytest.mark.parametrize("number", [1, 2, 5, 20, N_CHANGES - 1, N_CHANGES, N_CHANGES + 1])
def test_killed_patch_is_old_or_new_and_either_command_mends_it(host, monkeypatch, number, way):
    before = tree(host)
    untouched = (host / "train.py").read_bytes()
    with monkeypatch.context() as patch:
        stop_at(patch, number, Killed)
        patch.setattr(apply, "_take_back", lambda *_: [])
        try:
            patch_all(host)
        except Killed:
            pass
    now = (host / "train.py").read_bytes()
    assert now in (untouched, with_lines(untouched))
    if way == "patch":
        patch_all(host)
        assert (host / "train.py").read_bytes() == with_lines(untouched)
        assert journal.read_journal(host).state == journal.PATCHED
    if way == "patch" or journal.read_journal(host) is not None:
        unpatch_host(host)
    else:
        with pytest.raises(HostError, match="is not patched"):
            unpatch_host(host)
    assert tree(host) == before


def test_interrupted_unpatch_is_finished_by_the_next(host, monkeypatch):
    before = tree(host)
    patch_all(host)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, Killed)
        with pytest.raises(Killed):
            unpatch_host(host)
    assert (host / "train.py").read_text() == TRAIN
    unpatch_host(host)
    assert tree(host) == before


def test_byte_code_of_our_trainers_goes_with_them(host):
    before = tree(host)
    patch_all(host)
    (host / "trainers/__pycache__").mkdir()
    for name in ("coop_loreal.cpython-311.pyc", "coop.cpython-311.pyc"):
        (host / "trainers/__pycache__" / name).write_bytes(b"x")
    unpatch_host(host)
    assert [path.name for path in (host / "trainers/__pycache__").iterdir()] == [
        "coop.cpython-311.pyc"
    ]
    shutil.rmtree(host / "trainers/__pycache__")
    assert tree(host) == before


REFUSED = {
    "uncommitted": ("train.py", TRAIN + "# mine\n", "train.py has uncommitted changes"),
    "in the way": (
        "trainers/coop_loreal.py",
        "x = 1\n",
        "trainers/coop_loreal.py is there already and is not ours",
    ),
    "a file for a folder": ("scripts/loreal", "x\n", "scripts/loreal is there already"),
    "no python": ("train.py", "def (\n", "cannot be read as Python"),
    "no main": ("train.py", "x = 1\n", 'no block `if __name__ == "__main__":`'),
    "half a block": ("train.py", BEGIN.decode() + "\n" + TRAIN, "has lost its end"),
    "lines without a journal": (
        "train.py",
        with_lines(TRAIN.encode()).decode(),
        "is gone; restore train.py first",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_conflicts_are_refused_before_anything_changes(host, case):
    name, text, message = REFUSED[case]
    (host / name).write_text(text)
    before = tree(host)
    with pytest.raises(HostError) as caught:
        patch_all(host)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert tree(host) == before


def test_all_conflicts_are_listed_at_once(host):
    for name in ("trainers/coop_loreal.py", "scripts/loreal"):
        (host / name).write_text("x\n")
    (host / "train.py").write_text(TRAIN + "# mine\n")
    with pytest.raises(
        HostError, match="trainers/coop_loreal.py is.*scripts/loreal is.*train.py has uncommitted"
    ):
        patch_all(host)


def test_changed_files_of_a_patch_are_not_thrown_away(host):
    patch_all(host, copy=True)
    mine = host / "configs/trainers/CoOp_LOREAL/demo.yaml"
    mine.write_text("# mine\n")
    patched = tree(host)
    for call in (patch_all, unpatch_host):
        with pytest.raises(
            HostError, match="changed since .*: configs/trainers/CoOp_LOREAL/demo.yaml; they would"
        ):
            call(host)
    assert tree(host) == patched
    shutil.move(mine, host / "configs/trainers/CoOp_LOREAL/mine.yaml")
    outcome = unpatch_host(host)
    assert outcome.remarks == (
        "configs/trainers/CoOp_LOREAL stays: it holds files that are not ours",
        "configs/trainers stays: it holds files that are not ours",
    )


def test_own_file_where_a_newer_patch_would_add_one_is_kept(host, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(plan, "SCRIPTS", "scripts/nothing_of_that_name")
        patch_all(host)
    mine = host / "scripts" / "loreal" / "env.sh"
    mine.parent.mkdir()
    mine.write_text("# mine\n")
    before = tree(host)
    with pytest.raises(HostError, match="scripts/loreal/env.sh is there already and is not ours"):
        patch_all(host)
    assert tree(host) == before
    mine.unlink()
    patch_all(host)
    assert mine.is_symlink()


def test_changes_of_train_py_since_the_patch_stay(host):
    patch_all(host)
    train = host / "train.py"
    train.write_bytes(train.read_bytes() + b"# mine\n")
    assert patch_all(host).remarks == (f"{host} is patched already",)
    with pytest.raises(HostError, match="was changed since the patch; run `loreal unpatch` first"):
        patch_all(host, copy=True)
    assert unpatch_host(host).remarks == (
        "train.py was changed since the patch; your changes stay",
    )
    assert train.read_text() == TRAIN + "# mine\n"


def test_file_that_equals_ours_stays_the_hosts(host):
    (host / "configs/datasets/folder.yaml").write_bytes(
        (bundle_root() / "configs/datasets/folder.yaml").read_bytes()
    )
    before = tree(host)
    patch_all(host, copy=True)
    unpatch_host(host)
    assert tree(host) == before


def test_windows_line_ends_and_permissions_survive(host):
    source = TRAIN.replace("\n", "\r\n").encode()
    patched = with_lines(source)
    assert patched.count(b"\r\n") == patched.count(b"\n") and without_lines(patched) == source


def test_hosts_that_cannot_be_patched(tmp_path, host):
    with pytest.raises(HostError, match="has no train.py of its own"):
        patch_host(tmp_path)
    with pytest.raises(HostError, match="embedded host needs no patch"):
        patch_host(embedded_host())
    with pytest.raises(HostError, match="is not patched"):
        unpatch_host(host)
    shutil.rmtree(host / "trainers")
    with pytest.raises(HostError, match="no trainer with a contract row"):
        patch_all(host)
    (host / journal.NAME).write_text("{")
    with pytest.raises(HostError, match="cannot be read"):
        unpatch_host(host)


@pytest.mark.parametrize("copy", [False, True], ids=["link", "copy"])
def test_scripts_in_a_patched_host_run_on_it(host, copy, tmp_path):
    patch_all(host, copy=copy)
    show = 'source scripts/loreal/env.sh; printf \'%s\\n\' "$HOST" "$LOREAL_ROOT"'
    env = {name: value for name, value in os.environ.items() if name != "HOST"}
    asked = {}
    for given in ({}, {"HOST": "elsewhere"}):
        words = ["bash", "-euc", show]
        asked[bool(given)] = subprocess.run(
            words, cwd=host, env=env | given, capture_output=True, text=True
        ).stdout
    assert asked[False].splitlines() == [str(host), str(host if copy else bundle_root())]
    assert asked[True].splitlines()[0] == "elsewhere"
    # a copy has no environment of its own to make: it says so instead of installing the host
    if copy:
        (host / "setup.py").write_text("raise SystemExit('the host was installed')")
        words = ["bash", "scripts/loreal/base2new_train.sh", "coop", "32"]
        lonely = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
        for name in ("python", "python3"):
            (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(words, cwd=host, env=lonely, capture_output=True, text=True)
        assert done.returncode == 2 and "no active Python imports loreal_plugin" in done.stderr
        assert not (host / ".venv").exists()
