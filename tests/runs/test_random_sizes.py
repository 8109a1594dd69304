"""The host trained at random sizes, as a rival: trained once, resumed, measured at phi, a row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world import FAST, RUN, World, checkpoints, tensors

from loreal_plugin.results.reader import collect
from loreal_plugin.results.record import RESULTS, read_results
from loreal_plugin.runs import random_sizes, rival_model
from loreal_plugin.trainer import step_sizes

WORDS = ("rivals", *RUN, "--random-sizes", "--", *FAST)
PLACE = "train_base/pics/shots_2/MaPLe/random_phi32"


@pytest.fixture
def world(miniature: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a copy of the finished run; nothing is timed, and every epoch is saved."""

    def random_stage(engine: Any) -> Any:
        stage = made(engine)
        return replace(stage, opts=(*stage.opts, "TRAIN.CHECKPOINT_FREQ", "1"))

    made = random_sizes.random_stage
    monkeypatch.setattr(random_sizes, "random_stage", random_stage)
    monkeypatch.setattr(
        rival_model, "picture_milliseconds", lambda calls, _: dict.fromkeys(calls, 1.5)
    )
    return miniature.copy(tmp_path / "world")


def own_tensors(world: World) -> dict[str, Any]:
    """Return the last checkpoint of the training at random sizes."""
    (folder,) = world.folders(f"{PLACE}/*")
    (name,) = (name for name in checkpoints(folder) if name.endswith("-2"))
    return tensors(folder / name)


def test_it_is_trained_once_goes_on_and_stands_beside_the_others(
    world: World, command_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, before = command_line(world.env), world.stamps()
    drawn: list[tuple[int, int, int]] = []
    draw = step_sizes.size_of_step

    def size_of_step(sizes: tuple[int, ...], seed: int, epoch: int, step: int) -> int:
        assert sizes == (32, 48, 64)
        if epoch == 1 and len(drawn) < stop:
            raise KeyboardInterrupt
        drawn.append((epoch, step, draw(sizes, seed, epoch, step)))
        return drawn[-1][-1]

    monkeypatch.setattr(step_sizes, "size_of_step", size_of_step)
    stop = 99  # in the second epoch
    assert call(*WORDS)[0] != 0
    steps, stop = len(drawn), 0
    code, said, _ = call(*WORDS)
    assert code == 0 and "goes on in" in said
    assert [epoch for epoch, *_ in drawn] == [0] * steps + [1] * steps, "the first epoch once"
    again = call(*WORDS)[1]
    assert "[rivals" not in again and again.endswith(said[said.index("Rivals of") :])
    assert len(drawn) == 2 * steps

    (folder,) = world.folders(f"{PLACE}/*")
    stage = read_results(folder)
    assert (stage["stage"], stage["input_size"], stage["base"]) == ("random", 64, None)
    assert stage["config"]["INPUT.RANDOM_SIZES"] == [32, 48, 64] and stage["resumed"]
    assert {name: when for name, when in world.stamps().items() if name in before} == before

    record = read_results(next((world.out / "base2new" / "rivals").rglob(RESULTS)).parent)
    (row,) = (row for row in record["rows"] if row["correction"] == "trained at random sizes")
    assert (row["name"], row["tokens"]) == ("MaPLe, trained at random sizes", 5)
    assert (row["seconds"], row["parameters"]) == (stage["seconds"], stage["parameters"])
    assert row["base"]["total"] == 6 and row["picture_ms"] == 1.5
    (found,) = (r for r in collect(world.out).results if r.content.change == row["correction"])
    assert found.rival and found.content.numbers["seconds"] == row["seconds"]

    resumed = own_tensors(world)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert call(*WORDS)[0] == 0
    whole = own_tensors(world)
    assert resumed.keys() == whole.keys() and all(
        resumed[name].equal(whole[name]) for name in whole
    )
