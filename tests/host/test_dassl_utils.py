"""Checkpoints, logs, meters, seeds and files of the embedded host's dassl."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from dataset_helpers import use_embedded_host
from torch import nn

use_embedded_host()

from dassl import utils  # noqa: E402  (needs the host on the path)
from dassl.metrics import compute_accuracy  # noqa: E402
from dassl.utils import torchtools  # noqa: E402

from loreal_plugin.errors import CheckpointError, DataError  # noqa: E402


def _state(model: nn.Module, optimizer: Any = None, epoch: int = 2) -> dict[str, Any]:
    state = optimizer.state_dict() if optimizer else None
    return {
        "state_dict": model.state_dict(),
        "epoch": epoch,
        "optimizer": state,
        "scheduler": None,
        "val_result": 12.5,
    }


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_checkpoint_round_trip_is_weights_only(tmp_path: Path) -> None:
    model, optimizer = _trained()
    utils.save_checkpoint(_state(model, optimizer), tmp_path, is_best=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint",
        "model-best.pth.tar",
        "model.pth.tar-2",
    ]
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-2\n"
    loaded = torch.load(tmp_path / "model.pth.tar-2", weights_only=True)
    assert set(loaded) == {"state_dict", "epoch", "optimizer", "scheduler", "val_result"}
    fresh, its_optimizer = _trained()
    assert utils.resume_from_checkpoint(tmp_path, fresh, its_optimizer) == 2
    assert torch.equal(fresh.weight, model.weight)
    for mine, saved in zip(its_optimizer.state.values(), optimizer.state.values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], saved["momentum_buffer"])


def test_checkpoint_drops_the_prefix_of_data_parallel(tmp_path: Path) -> None:
    utils.save_checkpoint(_state(nn.DataParallel(nn.Linear(3, 2))), tmp_path, model_name="m.pt")
    assert list(utils.load_checkpoint(tmp_path / "m.pt")["state_dict"]) == ["weight", "bias"]


def test_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = _trained()
    utils.save_checkpoint(_state(model), tmp_path)
    before = (tmp_path / "model.pth.tar-2").read_bytes()

    def full_disk(state: Any, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torchtools.torch, "save", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device.*disk full"):
        utils.save_checkpoint(_state(model), tmp_path)
    assert (tmp_path / "model.pth.tar-2").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "model.pth.tar-2"]


def test_objects_pickled_by_the_original_dassl_come_back_empty(tmp_path: Path) -> None:
    model, optimizer = _trained()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    torch.save(
        {"state_dict": model.state_dict(), "scheduler": {"successor": scheduler}},
        tmp_path / "pickled",
    )
    found = utils.load_checkpoint(tmp_path / "pickled")
    assert found["scheduler"] == {"successor": {}}
    assert all(
        torch.equal(value, found["state_dict"][name]) for name, value in model.state_dict().items()
    )


def test_unloadable_checkpoints_say_why(tmp_path: Path) -> None:
    model, _ = _trained()
    utils.save_checkpoint(_state(model), tmp_path)
    whole = (tmp_path / "model.pth.tar-2").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut cannot be read"):
        utils.load_checkpoint(tmp_path / "cut")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        utils.load_checkpoint(tmp_path / "absent")
    with pytest.raises(ValueError, match="no checkpoint path"):
        utils.load_checkpoint(None)


def test_pretrained_weights_take_what_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(4, 2)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "w"
    )
    utils.load_pretrained_weights(target, tmp_path / "w")
    assert torch.equal(target.bias, source.bias)
    assert "discarded due to unmatched keys or size: ['weight']" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="no tensor that fits"):
        utils.load_pretrained_weights(nn.Linear(5, 5), tmp_path / "w")


def test_logger_copies_and_gives_stdout_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = sys.stdout
    utils.setup_logger(str(tmp_path / "run"))
    logger = sys.stdout
    assert logger.console is console and logger.isatty() == console.isatty()
    print("hello")
    assert (tmp_path / "run" / "log.txt").read_text() == "hello\n"
    logger.close()
    logger.close()
    assert sys.stdout is console
    print("after")
    assert (tmp_path / "run" / "log.txt").read_text() == "hello\n"
    assert capsys.readouterr().out == "hello\nafter\n"


def test_second_logger_keeps_the_first_log_and_replaces_the_logger(tmp_path: Path) -> None:
    console = sys.stdout
    (tmp_path / "log.txt").write_text("old")
    utils.setup_logger(tmp_path)
    print("one")
    utils.setup_logger(tmp_path / "other.log")
    assert sys.stdout.console is console
    print("two")
    sys.stdout.close()
    assert sys.stdout is console and (tmp_path / "log.txt").read_text() == "old"
    assert (tmp_path / "other.log").read_text() == "two\n"
    (dated,) = tmp_path.glob("log.txt-*")
    assert dated.read_text() == "one\n" and re.fullmatch(r"log\.txt-\d{4}(-\d\d){5}", dated.name)
    utils.setup_logger(None)
    assert sys.stdout is console


def test_meters_average_and_print() -> None:
    meter = utils.MetricMeter()
    meter.update({"loss": torch.tensor(1.0), "acc": 50.0})
    meter.update({"loss": 3.0, "acc": 100.0})
    meter.update(None)
    assert str(meter) == "loss 3.0000 (2.0000) acc 100.0000 (75.0000)"
    with pytest.raises(TypeError, match="are a dict"):
        meter.update(3.0)
    weighted, moving = utils.AverageMeter(), utils.AverageMeter(ema=True)
    for value, count in ((1.0, 3), (5.0, 1)):
        weighted.update(value, count)
        moving.update(value)
    assert (
        weighted.avg == 2.0 and weighted.val == 5.0 and moving.avg == pytest.approx(0.1 * 0.9 + 0.5)
    )


def test_seed_fixes_python_numpy_and_torch() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    utils.set_random_seed(5)
    first = draw()
    utils.set_random_seed(5)
    assert draw() == first
    utils.set_random_seed(6)
    assert draw() != first


def test_json_and_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    utils.write_json({"x": [1, "é"]}, path)
    assert utils.read_json(path) == {"x": [1, "é"]} == json.loads(path.read_text())
    (tmp_path / "a" / ".hidden").touch()
    (tmp_path / "a" / "a.txt").touch()
    assert utils.listdir_nohidden(tmp_path / "a", sort=True) == ["a.txt", "b.json"]
    utils.mkdir_if_missing("")
    with pytest.warns(UserWarning, match="No file found"):
        assert not utils.check_isfile(tmp_path / "none")
    assert utils.check_isfile(path)


def test_failed_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        utils.write_json({"x": object()}, tmp_path / "b.json")
    assert list(tmp_path.iterdir()) == []


def test_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DataError, match=r"picture '.*broken\.jpg' cannot be read"):
        utils.read_image(tmp_path / "broken.jpg")
    with pytest.raises(DataError, match=r"picture '.*absent\.jpg' does not exist"):
        utils.read_image(tmp_path / "absent.jpg")


def test_layers_are_opened_and_frozen_by_name() -> None:
    model = nn.ModuleDict({"old": nn.Linear(2, 2), "new": nn.Linear(2, 2)})
    utils.open_specified_layers(model, "new")
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert model["new"].training and not model["old"].training
    with pytest.raises(ValueError, match="has no child"):
        utils.open_specified_layers(model, ["newer"])
    utils.open_all_layers(model)
    assert all(p.requires_grad for p in model.parameters()) and model["old"].training


def test_parameters_are_counted() -> None:
    layer = nn.Linear(3, 2)
    groups = [{"params": layer.weight}, {"params": [layer.bias]}]
    assert utils.count_num_param(layer) == utils.count_num_param(params=layer.parameters()) == 8
    assert utils.count_num_param(params=groups) == 8
    with pytest.raises(ValueError):
        utils.count_num_param()


def test_accuracy_counts_the_label_among_the_k_highest() -> None:
    logits = torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.1, 0.3], [0.2, 0.3, 0.5]])
    labels = torch.tensor([1, 2, 0])
    top1, top2 = compute_accuracy((logits, None), labels, topk=(1, 2))
    assert top1.item() == pytest.approx(100 / 3) and top2.item() == pytest.approx(200 / 3)


def test_progress_prints_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(utils.progress([1, 2], what="step", every=0.0)) == [1, 2]
    assert capsys.readouterr().out == "step [1/2]\nstep [2/2]\n"
    assert list(utils.progress(iter([1, 2]))) == [1, 2] and capsys.readouterr().out == ""


def test_environment_names_the_versions() -> None:
    text = utils.collect_env_info()
    assert f"PyTorch: {torch.__version__}" in text and "Pillow: " in text
