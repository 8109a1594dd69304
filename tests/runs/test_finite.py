"""Numbers that are not finite: the step and the pictures are named, the last good state stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import random_clip_file, tiny_image_folder
from world import FAST, RUN, World, checkpoints

from loreal_plugin.errors import ConfigError, DataError
from loreal_plugin.runs import engine
from loreal_plugin.runs.finite import watch_numbers
from loreal_plugin.runs.observe_tests import record_answers
from loreal_plugin.runs.verify import verify

NAN = float("nan")
Poison = Callable[[Any, Any], None]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Poison], None]:
    """Give a function that lets something happen once to a stage's trainer, in its second epoch."""
    real, happened = engine.watch_numbers, []

    def set_up(name: str, happen: Poison) -> None:
        def watch(trainer: Any, stage: str, *more: Any) -> None:
            step = trainer.forward_backward

            def forward_backward(batch: Any) -> Any:
                due = stage == name and (trainer.epoch, trainer.batch_idx) == (1, 0)
                if due and not happened:
                    happened.append(stage)
                    happen(trainer, batch)
                return step(batch)

            trainer.forward_backward = forward_backward
            real(trainer, stage, *more)

        monkeypatch.setattr(engine, "watch_numbers", watch)

    return set_up


def spoil_picture(trainer: Any, batch: Any) -> None:
    batch["img"][1] = NAN


def spoil_gradient(trainer: Any, batch: Any) -> None:
    (name, value), *_ = (p for p in trainer.model.named_parameters() if p[1].requires_grad)
    value.register_hook(lambda gradient: gradient * NAN)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finite")
    tiny_image_folder(root / "data" / "pics", classes=4, per_class=6)
    random_clip_file(root)
    return root


@pytest.mark.parametrize(
    "happen, told",
    [
        (spoil_picture, ("the model's numbers of 1 picture(s): ", "PREC fp32")),
        (spoil_gradient, ("diverged, after the step, what it learned as", "-- OPTIM.LR 0.0002")),
    ],
)
def test_a_hosts_training_stops_at_the_step_and_goes_on_later(
    home: Path, tmp_path: Path, command_line: Any, poisoned: Any, happen: Poison, told: Any
) -> None:
    env = {"DATA": home / "data", "CLIP_WEIGHTS": home / "tiny_clip.pt", "SHOTS": 2}
    run = command_line(env | {"RECIPE": "demo", "LOREAL_CACHE": home / "cache", "OUT": tmp_path})
    words = ["base2new", "coop", "32", "pics", "--until", "alpha", "--", "OPTIM.MAX_EPOCH", "3"]
    words += ["TRAIN.CHECKPOINT_FREQ", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "2"]
    words += ["OPTIM.LR", "0.002"]
    poisoned("alpha", happen)
    code, _, said = run(*words)
    assert code == 2 and len(said.strip().splitlines()) == 1
    for part in ("stage 'alpha' (CoOp at 64) stopped at epoch 2 of 3, step 1 of 2", ".png", *told):
        assert part in said
    # epoch 1 is there and whole, epoch 2 is not
    assert [name.rsplit("-", 1)[1] for name in checkpoints(tmp_path)] == ["1"]
    assert verify(tmp_path).damaged == {}
    code, out, _ = run(*words)
    assert code == 0 and "goes on in" in out


def test_stage_3_names_pictures_of_cached_features(
    miniature: World, tmp_path: Path, command_line: Any, poisoned: Any
) -> None:
    world = miniature.copy(tmp_path / "world")
    shutil.rmtree(world.run_folder)
    named: list[str] = []

    def spoil(trainer: Any, batch: Any) -> None:
        batch["features_beta"][0] = NAN
        named.append(trainer.dm.dataset.train_x[int(batch["index"][0])].impath)

    poisoned("loreal", spoil)
    code, _, said = command_line(world.env)("base2new", *RUN, "--", *FAST)
    assert code == 2 and named[0] in said and "of 1 picture(s)" in said
    assert "stage 'loreal' (MaPLe_LOREAL at 32) stopped at epoch 2 of 2, step 1" in said


def picture(name: str) -> Any:
    return SimpleNamespace(impath=name)


def toy(loss: float) -> Any:
    """Return a trainer of two pictures whose step gives a loss."""
    cfg = SimpleNamespace(
        TRAINER=SimpleNamespace(NAME="Toy"),
        INPUT=SimpleNamespace(SIZE=(96, 96)),
        OPTIM=SimpleNamespace(LR=3.0),
    )
    return SimpleNamespace(
        cfg=cfg,
        epoch=0,
        max_epoch=1,
        batch_idx=3,
        num_batches=4,
        _models={"m": torch.nn.Linear(2, 2)},
        device="cpu",
        model=None,
        forward_backward=lambda batch: {"loss": loss},
    )


def test_a_loss_that_a_scaler_swallows_is_seen() -> None:
    batch = {"impath": [f"{n}.png" for n in range(5)], "img": torch.ones(5, 3, 2, 2)}
    encoder = SimpleNamespace(encode_image=lambda model, images: images[:, None])
    trainer = toy(loss=NAN)
    watch_numbers(trainer, "beta", False, encoder)
    with pytest.raises(ConfigError, match=r"step 4 of 4: .*0.png, 1.png, 2.png and 2 more.*LR 0.3"):
        trainer.forward_backward(batch)
    # infinite gradients that the scaler leaves out change nothing, and nothing is said
    fine = toy(loss=1.0)
    fine._models["m"].weight.grad = torch.full((2, 2), NAN)
    watch_numbers(fine, "beta", False, encoder)
    assert fine.forward_backward(batch) == {"loss": 1.0}


def test_test_pictures_without_a_finite_answer_are_named() -> None:
    taken = []
    evaluator = SimpleNamespace(reset=lambda: None, process=lambda *found: taken.append(found))
    data = SimpleNamespace(test=[picture(f"{n}.png") for n in range(4)])
    trainer = toy(1.0)
    trainer.evaluator, trainer.dm = evaluator, SimpleNamespace(dataset=data)
    record_answers(trainer)
    labels, output = torch.tensor([0, 1]), torch.ones(2, 2)
    evaluator.process(output, labels)
    with pytest.raises(DataError, match=r"1 picture\(s\): 3.png; look"):
        evaluator.process(torch.tensor([[1.0, 2.0], [NAN, 1.0]]), labels)
    assert len(taken) == 1
