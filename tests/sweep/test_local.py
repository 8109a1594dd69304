"""Which run comes next, processes that die, and that one failure does not end a sweep."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweep.test_plan import SMALL, write

from loreal_plugin.cli.main import main
from loreal_plugin.errors import LorealError
from loreal_plugin.files import read_json
from loreal_plugin.results.record import RESULTS
from loreal_plugin.sweep import local
from loreal_plugin.sweep.local import Schedule, Worker, device_of, run_local, threads_of
from loreal_plugin.sweep.slurm import families, parse_settings
from loreal_plugin.sweep.sweep_record import SweepRecord


def run(
    name: str, family: str, protocol: str = "base2new", process: str = "p", block: int = 0
) -> Any:
    facts = {
        "block": block,
        "protocol": protocol,
        "rivals": protocol == "rivals",
        "family": (family,),
        "process": (process,),
    }
    return SimpleNamespace(name=name, words=("options",), **facts)


def test_the_first_block_of_a_plan_comes_first_whatever_a_process_made_before() -> None:
    a1, b1 = run("a1", "a", process="p"), run("b1", "b", process="q")
    a2 = run("a2", "a", process="p", block=1)
    schedule = Schedule([a1, b1, a2])
    assert schedule.take(None) is a1
    schedule.give_back(a1)
    assert schedule.take(a1) is b1
    assert schedule.take(b1) is a2


def test_runs_that_share_a_stage_do_not_wait_for_each_other() -> None:
    a1, a2, b1 = run("a1", "a"), run("a2", "a"), run("b1", "b")
    schedule = Schedule([a1, a2, b1])
    assert schedule.take(None) is a1
    assert schedule.take(None) is b1, "a2 would wait for a1"
    schedule.give_back(a1)
    assert schedule.take(a1) is a2 and schedule.take(b1) is None


def test_a_process_keeps_its_kind_of_runs() -> None:
    a, b, c = (
        run("a", "a", process="coop"),
        run("b", "b", process="maple"),
        run("c", "c", process="coop"),
    )
    schedule = Schedule([a, b, c])
    first = schedule.take(None)
    schedule.give_back(first)
    assert schedule.take(first) is c and schedule.take(None) is b


def test_rivals_wait_for_the_runs_they_are_measured_on() -> None:
    first, rivals = run("first", "a"), run("rivals", "a", "rivals")
    schedule = Schedule([first, rivals])
    assert schedule.take(None) is first
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(schedule.take(None)))
    waiting.start()
    time.sleep(0.05)
    assert taken == []
    schedule.give_back(first)
    waiting.join(10)
    assert taken == [rivals]


def test_a_stopped_schedule_hands_out_nothing() -> None:
    schedule = Schedule([run("a", "a")])
    schedule.stop()
    assert schedule.take(None) is None


class Stub(Worker):
    """Fails runs of seed 2, without a process."""

    def run(self, run: Any, log: Path) -> tuple[int, str]:
        failed = run.spec.seed == 2
        return (2, "disk full") if failed else (0, "")


def test_one_failure_does_not_end_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "Worker", Stub)
    out = tmp_path / "out"
    plan = write(tmp_path, SMALL | {"seeds": [1, 2, 3], "name": "mixed"})
    assert main(["sweep", str(plan), "--out", str(out), "--jobs", "2", "--no-report"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("[")]) == 6
    assert sum("FAILED after 0 s: disk full" in line for line in lines) == 2
    record = read_json(out / "sweeps" / "mixed" / RESULTS)
    states = [(run["title"].split()[-1], run["state"]) for run in record["runs"]]
    assert states == [("1", "done")] * 2 + [("2", "failed")] * 2 + [("3", "done")] * 2
    assert (record["done"], record["failed"], record["jobs"]) == (4, 2, 2)


def test_a_sweep_that_is_broken_off_again_keeps_what_ended_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Any] = []

    class Breaking(Stub):
        def run(self, run: Any, log: Path) -> tuple[int, str]:
            if not ends:
                raise OSError("broken off")
            return ends.pop(0)

    def states(*outcomes: tuple[int, str]) -> list[tuple[str, str]]:
        """Return state and error of each run after a call that is broken off after these."""
        ends[:] = outcomes
        with pytest.raises(OSError, match="broken off"):
            main([*words, "--jobs", "1", "--no-report"])
        found = read_json(tmp_path / "out" / "sweeps" / "mixed" / RESULTS)["runs"]
        return sorted((run["state"], run["error"]) for run in found)

    monkeypatch.setattr(local, "Worker", Breaking)
    plan = write(tmp_path, SMALL | {"seeds": [1, 2], "name": "mixed"})
    words = ["sweep", str(plan), "--out", str(tmp_path / "out")]
    first = [("done", ""), ("failed", "disk full"), ("not started", ""), ("not started", "")]
    assert states((0, ""), (2, "disk full")) == first
    assert states() == first, "the second call got nowhere"
    assert states((0, ""), (0, "")) == [("done", "")] * 2 + first[2:], "the failed one is done now"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_record_that_cannot_be_written_ends_the_sweep_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: int,
) -> None:
    made: list[Any] = []

    class Counting(Stub):
        def run(self, run: Any, log: Path) -> tuple[int, str]:
            made.append(run)
            return 0, ""

    def full(self: SweepRecord, run: Any, outcome: Any) -> None:
        raise LorealError(f"cannot write {self.path}: No space left on device")

    monkeypatch.setattr(local, "Worker", Counting)
    monkeypatch.setattr(SweepRecord, "note", full)
    plan = write(tmp_path, SMALL | {"seeds": [1, 2, 3, 4, 5, 6]})
    words = ["sweep", str(plan), "--out", str(tmp_path / "out"), "--jobs", str(jobs)]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: cannot write ") and said.err.count("\n") == 1
    assert "runs done" not in said.out and len(made) <= 2 * jobs < 12, "none was started after it"


def test_a_process_that_cannot_be_started_ends_the_sweep_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Worker):
        def run(self, run: Any, log: Path) -> tuple[int, str]:
            raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(local, "Worker", Broken)
    runs = [run("first", "a"), run("rivals", "a", "rivals")]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        run_local(runs, lambda _: Path("log"), 2, lambda run, outcome: None)


def test_two_sweeps_of_one_name_do_not_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    class Nested(Stub):
        def run(self, run: Any, log: Path) -> tuple[int, str]:
            seen.append(main(["sweep", str(plan), "--out", str(tmp_path / "out")]))
            return 0, ""

    monkeypatch.setattr(local, "Worker", Nested)
    plan = write(tmp_path, SMALL | {"methods": ["coop"], "seeds": [1]})
    main(["sweep", str(plan), "--out", str(tmp_path / "out"), "--no-report"])
    assert seen == [2] and "another sweep 'plan' is at work" in capsys.readouterr().err


def test_every_run_ends_once_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Worker):
        def run(self, run: Any, log: Path) -> tuple[int, str]:
            time.sleep(0.01)
            return 0, ""

    inside, ended = [], []

    def on_end(run: Any, outcome: Any) -> None:
        inside.append(run)
        assert len(inside) == 1
        time.sleep(0.002)
        inside.pop()
        ended.append(run.name)

    monkeypatch.setattr(local, "Worker", Slow)
    runs = [run(f"{family}{i}", family) for family in "abc" for i in range(4)]
    run_local(runs, lambda _: Path("log"), 3, on_end)
    assert sorted(ended) == sorted(run.name for run in runs)


def test_a_process_answers_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    worker = Worker()
    try:
        good, bad = run("good", "a"), run("bad", "a")
        bad.words = ("optoins",)
        assert worker.run(good, tmp_path / "good.txt") == (0, "")
        assert "| `BRIDGE` |" in (tmp_path / "good.txt").read_text()
        code, error = worker.run(bad, tmp_path / "bad.txt")
        assert code == 2 and error.startswith("unknown command 'optoins'; did you mean 'options'?")
        process = worker._process
        # stopped, it still takes the task; killed, it never answers
        process.send_signal(19)
        threading.Timer(0.3, process.kill).start()
        code, error = worker.run(good, tmp_path / "killed.txt")
        assert code == -9 and error.startswith("the process ended with signal 9; ")
        assert (
            worker.run(good, tmp_path / "again.txt") == (0, "") and worker._process is not process
        )
    finally:
        worker.stop()


def test_processes_together_have_a_thread_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "_cores", lambda: 8)
    assert threads_of(1) == {}  # one process takes what torch gives it
    assert threads_of(3) == {"OMP_NUM_THREADS": "2"}
    assert threads_of(99) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_of(3) == {}


def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_path", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loreal_plugin").mkdir()
    (tmp_path / "loreal_plugin" / "__init__.py").write_text("raise RuntimeError('half installed')")
    worker = Worker()
    code, error = worker.run(run("any", "a"), tmp_path / "log.txt")
    worker.stop()
    assert code == 1 and "half installed" in error


def test_families_go_one_by_one_on_slurm_and_settings_are_checked() -> None:
    runs = [run("a1", "a"), run("b1", "b"), run("a2", "a")]
    assert [[r.name for r in family] for family in families(runs)] == [["a1", "a2"], ["b1"]]
    assert parse_settings(["timeout_min=240", "slurm_partition=gpu"]) == {
        "timeout_min": 240,
        "slurm_partition": "gpu",
    }
    for word in ("gpu", "=3", "a b=3", "x="):
        with pytest.raises(Exception, match="key=value"):
            parse_settings([word])


def test_gpus_give_each_worker_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOREAL_DEVICE", raising=False)
    found = [device_of(number, ["2", "5"]) for number in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["2", "5", "2"]
    assert all(one["LOREAL_DEVICE"] == "0" for one in found)


def test_gpus_have_to_be_named_and_belong_to_one_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["--gpus", ","], ["--gpus", "0", "--slurm"]):
        assert main(["sweep", "demo", *words]) == 2
        assert "--gpus takes names of CUDA devices" in capsys.readouterr().err
