"""The scripts' own work: finding an environment, making one, and going on after an interrupted
installation.

A stub stands in for Python, so that nothing is downloaded: it writes down what it is asked to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("loreal/base2new_train.sh", "loreal/base2new_test.sh")
OTHERS = {f"loreal/{name}.sh": name for name in ("xd", "dg", "few_shot", "zero_shot")}

STUB = """#!/usr/bin/env bash
# answers as a Python would that has no loreal_plugin
echo "$(basename "$(dirname "$0")") $*" >>"$STUB_LOG"
case "$*" in
    *"sys.exit(sys.version_info"*) exit 0 ;;
    *"find_spec"*" loreal_plugin "*) exit "${STUB_HAS_LOREAL:-1}" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip install"*) sleep "${STUB_SLEEP:-0}"; exit "${STUB_PIP:-0}" ;;
    "-m loreal_plugin "*) echo "ran: $*"; echo "PYTHONPATH=${PYTHONPATH:-}" ;;
esac
"""


class Clone:
    """A fresh clone without an environment, and a PATH whose only Python is the stub."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root / "clone", root / "log.txt"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        # what tells a checkout from a host with our scripts in it
        (self.root / "loreal_plugin").mkdir()
        tools = root / "bin"
        tools.mkdir()
        for name in ("python3", "python"):
            (tools / name).write_text(STUB)
            (tools / name).chmod(0o755)
        self.env = {"PATH": f"{tools}:/usr/bin:/bin", "STUB_LOG": str(self.log), "HOME": str(root)}
        self.elsewhere = root / "elsewhere"
        self.elsewhere.mkdir()

    def start(self, *words: str, script: str = SCRIPTS[0], **env: str) -> subprocess.Popen[str]:
        """Start a script from another folder."""
        return subprocess.Popen(
            ["bash", str(self.root / "scripts" / script), *words],
            env=self.env | env,
            cwd=self.elsewhere,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, script: str = SCRIPTS[0], **env: str) -> tuple[int, str, str]:
        """Run a script and return exit code, stdout, stderr."""
        process = self.start(*words, script=script, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def asked(self, text: str) -> int:
        """Return how often a Python was asked for something."""
        return (
            sum(text in line for line in self.log.read_text().splitlines())
            if self.log.exists()
            else 0
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize("script", [*SCRIPTS, *OTHERS])
def test_help_needs_no_environment(clone: Clone, script: str) -> None:
    code, out, err = clone.run("--help", script=script)
    assert (code, err) == (
        0,
        "",
    ) and f"bash scripts/{script} METHOD PHI [DATASET=demo] [SEED=1]" in out
    assert not clone.log.exists()


def test_fresh_clone_makes_an_environment_once_and_says_so(clone: Clone) -> None:
    code, out, err = clone.run("maple", "96")
    assert code == 0 and "ran: -m loreal_plugin base2new maple 96" in out
    assert "making the environment" in err and "installing loreal-plugin" in err
    code, out, err = clone.run("maple", "96", "demo", "2", "--", "OPTIM.LR", "1", script=SCRIPTS[1])
    assert (code, err) == (0, "")
    assert "ran: -m loreal_plugin base2new --test-only maple 96 demo 2 -- OPTIM.LR 1" in out
    assert clone.asked("-m pip install") == 1 and clone.asked("-m venv") == 1


def test_with_a_real_host_what_the_original_dassl_imports_is_installed_too(clone: Clone) -> None:
    assert clone.run("maple", "96")[0] == 0 and clone.asked("[hosts]") == 0
    for _ in range(2):
        assert clone.run("maple", "96", HOST=str(ROOT / "hosts"))[0] == 0
    assert clone.asked("-m pip install") == 2 and clone.asked("[hosts]") == 1


@pytest.mark.parametrize("script", OTHERS)
def test_every_protocol_has_a_script_that_passes_its_words_on(clone: Clone, script: str) -> None:
    code, out, _ = clone.run(
        "maple", "96", "demo", "2", "--dry-run", script=script, STUB_HAS_LOREAL="0"
    )
    assert code == 0 and f"ran: -m loreal_plugin {OTHERS[script]} maple 96 demo 2 --dry-run" in out
    assert os.access(ROOT / "scripts" / script, os.X_OK)
    code, out, err = clone.run("maple", script=script, STUB_HAS_LOREAL="0")
    assert (code, out) == (2, "") and "METHOD PHI [DATASET=demo]" in err


def test_interrupted_installation_goes_on(clone: Clone) -> None:
    code, out, err = clone.run("maple", "96", STUB_PIP="1")
    assert code == 2 and out == "" and "run the same command again to go on" in err.splitlines()[-1]
    code, out, _ = clone.run("maple", "96")
    assert code == 0 and "ran:" in out
    assert clone.asked("-m pip install") == 2 and clone.asked("-m venv") == 1


def test_changed_requirements_are_installed_again(clone: Clone) -> None:
    clone.run("maple", "96")
    with (clone.root / "setup.py").open("a") as file:
        file.write("# another requirement\n")
    assert clone.run("maple", "96")[0] == 0
    assert clone.asked("-m pip install") == 2


def test_two_first_runs_install_once(clone: Clone) -> None:
    runs = [clone.start("maple", "96", STUB_SLEEP="1") for _ in range(2)]
    results = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert all("ran:" in out for out, _ in results)
    assert clone.asked("-m pip install") == 1


def test_active_environment_with_the_plugin_is_used_as_it_is(clone: Clone) -> None:
    code, out, err = clone.run("maple", "96", STUB_HAS_LOREAL="0")
    assert (code, err) == (0, "") and "PYTHONPATH=\n" in out
    assert not (clone.root / ".venv").exists()


def test_loreal_python_overrides(clone: Clone, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(tmp_path / "bin" / "python3", own / "python")
    code, out, _ = clone.run("maple", "96", LOREAL_PYTHON=str(own / "python"))
    assert (
        code == 0 and f"PYTHONPATH={clone.root}" in out and clone.asked("own -m loreal_plugin") == 1
    )
    code, out, err = clone.run("maple", "96", LOREAL_PYTHON="no-such-python")
    assert (code, out, err) == (2, "", "error: LOREAL_PYTHON 'no-such-python' is no interpreter\n")


def test_no_python_is_one_clear_line(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "basename", "cat", "cksum", "flock", "readlink"):
        found = shutil.which(name)
        if found:
            os.symlink(found, tools / name)
    code, out, err = clone.run("maple", "96", PATH=str(tools))
    assert (code, out) == (2, "")
    assert (
        err == "error: Python 3.10 or later was looked for and not found; install it, or set"
        " LOREAL_PYTHON\n"
    )


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
