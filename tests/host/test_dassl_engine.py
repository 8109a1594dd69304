"""A toy trainer end to end on the embedded host's dassl: hooks, lines, files, resume."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dassl.engine import (
    SimpleTrainer,
    TrainerBase,
    build_trainer,
)  # isort: skip  (dassl_toys sets the path)
from dassl_toys import toy_cfg

from dassl.utils import set_random_seed, setup_logger  # isort: skip

from loreal_plugin.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def _give_stdout_back() -> Iterator[None]:
    console = sys.stdout
    yield
    sys.stdout = console


def _trainer(tmp_path: Path, name: str = "run", **settings: Any) -> Any:
    cfg = toy_cfg(tmp_path / "data", tmp_path / name, **settings)
    set_random_seed(cfg.SEED)
    return build_trainer(cfg)


def _weights(trainer: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


BATCH_LINE = re.compile(
    r"epoch \[(\d)/4\] batch \[(\d)/3\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3}"
    r" \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e-\d\d) eta"
    r" \d:\d\d:\d\d"
)


def test_run_leaves_the_family_s_log_and_files(tmp_path: Path) -> None:
    setup_logger(tmp_path / "run")
    trainer = _trainer(tmp_path)
    trainer.train()
    sys.stdout.close()
    log = (tmp_path / "run" / "log.txt").read_text()
    found = [match.groups() for match in map(BATCH_LINE.fullmatch, log.splitlines()) if match]
    assert [pair[:2] for pair in found] == [
        (str(e), str(b)) for e in range(1, 5) for b in range(1, 4)
    ]
    assert [found[i][2] for i in (0, 3)] == ["1.0000e-05", "5.0000e-02"]
    order = [
        "Loading trainer: ToyTrainer",
        "Loading dataset: ToyPictures",
        "Building transform_train",
        "Loading evaluator: Classification",
        "No checkpoint found, train from scratch",
        "Initialize tensorboard",
        "epoch [1/4]",
        "Checkpoint saved to",
        "Finish training",
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
        "* total: 3",
        "* accuracy: ",
        "* macro_f1: ",
        "Elapsed: 0:00:",
    ]
    places = [log.index(line) for line in order]
    assert places == sorted(places)
    assert sorted(p.name for p in (tmp_path / "run" / "toy").iterdir()) == [
        "checkpoint",
        "model.pth.tar-4",
    ]
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert trainer.hooks == [
        f"{when} {epoch}" for epoch in range(4) for when in ("before", "after")
    ]


def _parse_like_the_family(log: Path, keyword: str = "accuracy") -> float:
    """Return the last result after the end signal, as the hosts' parse_test_res.py reads it."""
    good_to_go, value = False, None
    for line in log.read_text().splitlines():
        good_to_go = good_to_go or line.strip() == "Finish training"
        match = re.search(rf"\* {keyword}: ([\.\deE+-]+)%", line)
        value = float(match.group(1)) if match and good_to_go else value
    assert value is not None
    return value


def test_results_are_read_by_the_family_s_parser(tmp_path: Path) -> None:
    setup_logger(tmp_path / "run")
    trainer = _trainer(tmp_path, OPTIM__MAX_EPOCH=1)
    trainer.train()
    result = trainer.test()
    sys.stdout.close()
    assert _parse_like_the_family(tmp_path / "run" / "log.txt") == pytest.approx(result, abs=0.0051)


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    runs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trainer = _trainer(tmp_path, name, SEED=seed)
        trainer.train()
        runs.append(_weights(trainer))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    "settings", [{}, {"OPTIM__NAME": "adamw"}, {"TEST__FINAL_MODEL": "best_val"}]
)
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"TRAIN__CHECKPOINT_FREQ": 1, **settings}
    whole = _trainer(tmp_path, "whole", **settings)
    whole.train()
    killed = _trainer(tmp_path, "killed", **settings)
    after_epoch = killed.after_epoch

    def die_after_the_second() -> None:
        after_epoch()
        if killed.epoch == 1:
            raise KeyboardInterrupt

    killed.after_epoch = die_after_the_second
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    capsys.readouterr()
    resumed = _trainer(tmp_path, "killed", **settings)
    torch.rand(17)  # whatever was drawn before must not matter
    resumed.train()
    out = capsys.readouterr().out
    assert (
        "will resume training" in out and "Loaded optimizer" in out and "Previous epoch: 2" in out
    )
    assert resumed.hooks[0] == "before 2" and torch.equal(_weights(resumed), _weights(whole))
    assert resumed.best_result == whole.best_result
    last = {
        run: torch.load(tmp_path / run / "toy" / "model.pth.tar-4") for run in ("whole", "killed")
    }
    for mine, other in zip(*(_leaves(state) for state in last.values()), strict=True):
        assert mine == other


def _leaves(value: Any) -> Iterator[Any]:
    """Yield every plain value in a checkpoint, tensors as lists."""
    if isinstance(value, dict):
        for key in value:
            yield from _leaves(value[key])
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value.tolist() if isinstance(value, torch.Tensor) else value


def test_best_model_is_kept_and_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(tmp_path, TEST__FINAL_MODEL="best_val")
    results = iter([40.0, 60.0, 50.0, 10.0, 10.0])
    trainer.evaluator.evaluate = lambda: {"accuracy": next(results)}
    trainer.train()
    best = torch.load(tmp_path / "run" / "toy" / "model-best.pth.tar", weights_only=True)
    assert best["epoch"] == 2 and best["val_result"] == 60.0
    assert torch.equal(trainer.model.fc.weight, best["state_dict"]["fc.weight"])
    out = capsys.readouterr().out
    assert (
        "Deploy the model with the best val performance" in out
        and "Evaluate on the *val* set" in out
    )


def test_finished_run_is_tested_again_not_trained(tmp_path: Path) -> None:
    first = _trainer(tmp_path)
    first.train()
    again = _trainer(tmp_path)
    again.train()
    assert again.hooks == [] and torch.equal(_weights(again), _weights(first))


def test_resume_needs_the_same_epoch_of_every_model(tmp_path: Path) -> None:
    def two_models() -> Any:
        trainer = _trainer(tmp_path, TRAIN__CHECKPOINT_FREQ=2)
        trainer.register_model("second", torch.nn.Linear(1, 1))
        return trainer

    two_models().train()
    second = tmp_path / "run" / "second"
    # killed between the two saves: the second model is one checkpoint behind
    (second / "model.pth.tar-4").unlink()
    (second / "checkpoint").write_text("model.pth.tar-2\n")
    assert two_models().resume_model_if_exist(tmp_path / "run") == 2
    (tmp_path / "run" / "toy" / "model.pth.tar-2").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint of .* is in all of"):
        two_models().resume_model_if_exist(tmp_path / "run")
    shutil.rmtree(second)
    assert two_models().resume_model_if_exist(tmp_path / "run") == 0


def test_load_model_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(tmp_path, OPTIM__MAX_EPOCH=1)
    trainer.train()
    other = _trainer(tmp_path, "other")
    other.load_model(str(tmp_path / "run"), epoch=1)
    assert torch.equal(_weights(other), _weights(trainer))
    with pytest.raises(FileNotFoundError, match="no model at .*model-best.pth.tar'; --load-epoch"):
        other.load_model(str(tmp_path / "run"))
    other.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out


def test_models_are_registered_once_and_after_init() -> None:
    class Early(TrainerBase):
        def __init__(self) -> None:
            self.register_model()

    with pytest.raises(AttributeError, match="before register_model"):
        Early()
    base = TrainerBase()
    base.register_model("a", torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="registered already"):
        base.register_model("a")
    with pytest.raises(ValueError, match="no model is registered as"):
        base.set_model_mode("eval", "b")
    base.set_model_mode("eval", "a")
    assert not base._models["a"].training and base.get_model_names("a") == ["a"]
    with pytest.raises(KeyError, match="mode 'best'"):
        base.set_model_mode("best")


def test_infinite_loss_stops() -> None:
    with pytest.raises(FloatingPointError, match="nan"):
        TrainerBase().model_backward(torch.tensor(float("nan"), requires_grad=True))


def test_trainer_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has to write build_model"):
        SimpleTrainer(toy_cfg(tmp_path / "data", tmp_path))


def test_unlabelled_batches_come_beside_labelled_ones(tmp_path: Path) -> None:
    settings = {"DATASET__ALL_AS_UNLABELED": True, "DATASET__NUM_SHOTS": 2, "OPTIM__MAX_EPOCH": 1}
    for count, steps in (("train_x", 1), ("train_u", 3), ("smaller_one", 1)):
        trainer = _trainer(
            tmp_path, count, trainer="ToyTrainerXU", TRAIN__COUNT_ITER=count, **settings
        )
        trainer.train()
        assert trainer.hooks == ["4+4"] * steps
    trainer = _trainer(
        tmp_path, "bad", trainer="ToyTrainerXU", TRAIN__COUNT_ITER="both", **settings
    )
    with pytest.raises(ConfigError, match="COUNT_ITER is 'both'"):
        trainer.train()


def test_training_goes_on_without_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer = _trainer(tmp_path, OPTIM__MAX_EPOCH=1)
    trainer.train()
    assert "TensorBoard is not installed" in capsys.readouterr().out
    assert trainer._writer is None and not (tmp_path / "run" / "tensorboard").exists()
