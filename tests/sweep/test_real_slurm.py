"""Tasks on a real SLURM on this machine's loopback: done, killed, interrupted and queued again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.sweep.slurm import queued, run_slurm
from loreal_plugin.sweep.sweep_record import Outcome

pytest.importorskip("submitit", reason="submitit is not installed: nothing was submitted")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
ROOT = Path(__file__).resolve().parents[2]
MARKED = "<!-- begin options -->\n<!-- end options -->\n"

CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={one}
SlurmdPort={two}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=here Nodes={host} Default=YES State=UP
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd on the loopback; give their folder."""
    missing = [name for name in DAEMONS if shutil.which(name, path=_path()) is None]
    if missing:
        pytest.skip(f"no SLURM here ({', '.join(missing)} missing), nothing was submitted")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started by root only, nothing was submitted")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    names = {"host": host, "folder": folder, "one": free_port(), "two": free_port()}
    (folder / "slurm.conf").write_text(CONF.format(**names))
    started: list[subprocess.Popen[bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", _path())
        patch.setenv("PYTHONPATH", str(ROOT))
        munge = ["munged", "--foreground", "--force", f"--key-file={folder}/key"]
        munge += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
        munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, **quiet))
            time.sleep(0.5)
        try:
            wait_for(lambda: "idle" in _said("sinfo", "-h", "-o", "%T"), 20)
            yield folder
        except TimeoutError:
            pytest.skip("SLURM's daemons do not come up on this machine, nothing was submitted")
        finally:
            _said("scancel", "--me")
            with suppress(TimeoutError):  # tasks that outlive the daemons would stay for ever
                wait_for(lambda: not _said("squeue", "--noheader").strip(), 20)
            for process in reversed(started):
                process.terminate()
                process.wait(10)
            shutil.rmtree(folder, ignore_errors=True)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait_for(found: Callable[[], Any], seconds: float) -> Any:
    """Return what `found` finds, once it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s")


@pytest.fixture
def submitted(slurm: Path, tmp_path: Path) -> Callable[..., tuple[threading.Thread, dict]]:
    """Give a function that submits runs in a thread; it returns the thread and how runs ended."""
    wait_for(lambda: not _said("squeue", "--noheader").strip(), 300)  # tasks of the test before

    def submit(**runs: tuple[str, ...]) -> tuple[threading.Thread, dict[str, Outcome]]:
        ended: dict[str, Outcome] = {}
        all_runs: list[Any] = [
            SimpleNamespace(name=name, family=(name,), process=("p",), words=words)
            for name, words in runs.items()
        ]
        arguments = (
            all_runs,
            lambda run: tmp_path / f"{run.name}.txt",
            tmp_path / "slurm",
            {"timeout_min": 5},
            2,
            lambda run, outcome: ended.__setitem__(run.name, outcome),
            0.2,
        )
        thread = threading.Thread(target=run_slurm, args=arguments, daemon=True)
        thread.start()
        return thread, ended

    return submit


def running(folder: Path) -> str:
    """Return the id of the task that runs."""
    states = ("squeue", "--me", "-h", "-r", "-t", "R", "-o", "%i")
    return str(wait_for(lambda: _said(*states).strip(), 30))


def test_tasks_that_end_are_reported(submitted: Callable[..., Any], tmp_path: Path) -> None:
    thread, ended = submitted(good=("options",), bad=("optoins",))
    thread.join(90)
    assert ended["good"].done and not ended["bad"].done
    assert "did you mean 'options'?" in ended["bad"].error


def test_a_task_that_dies_is_noticed_without_accounting(
    submitted: Callable[..., Any], slurm: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it waits for a writer, who never comes
    thread, ended = submitted(dies=("options", "--write", str(tmp_path / "pipe")))
    task = running(slurm)
    wait_for((tmp_path / "dies.txt").exists, 300)
    assert task in (queued() or ())
    subprocess.run(["scancel", task], check=True)
    thread.join(300)
    assert not ended["dies"].done and "SLURM has it no longer" in ended["dies"].error


@pytest.mark.slow  # minutes on a machine with other work: SLURM decides when it looks again
def test_a_task_at_its_time_limit_is_queued_again_and_goes_on(
    submitted: Callable[..., Any], slurm: Path, tmp_path: Path
) -> None:
    pipe, log = tmp_path / "pipe", tmp_path / "again.txt"
    os.mkfifo(pipe)
    thread, ended = submitted(again=("options", "--write", str(pipe)))
    task = running(slurm)
    wait_for(log.exists, 300)
    # what SLURM sends before the limit, sent now: the shortest limit is a minute
    subprocess.run(["scancel", "--signal=USR2", task], check=True)
    wait_for(lambda: "PENDING" in _said("squeue", "-h", "-j", task, "-o", "%T"), 300)
    # SLURM lets it wait two minutes; started by force before that, its node may refuse it as killed
    wait_for(lambda: log.read_text().count("$ loreal options") == 2, 300)
    pipe.write_text(MARKED)  # the second time it gets what it waits for
    thread.join(300)
    assert ended["again"].done and "BRIDGE" in pipe.read_text()
