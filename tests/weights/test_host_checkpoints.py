"""Checkpoints are read without running what is pickled in them."""

from __future__ import annotations

import os

import pytest
import torch

from loreal_plugin.errors import CheckpointError
from loreal_plugin.weights.host_checkpoints import read_host_checkpoint


class Evil:
    """Would make a folder if it were unpickled for real."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_plain_checkpoint_is_read(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3)}, "epoch": 4}, tmp_path / "c")
    assert read_host_checkpoint(tmp_path / "c")["epoch"] == 4


def test_pickled_scheduler_is_left_out_and_the_tensors_are_read(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    weights = {"w": torch.randn(2, 3), "h": torch.randn(4).half(), "i": torch.arange(5)}
    torch.save(
        {"state_dict": weights, "epoch": 7, "scheduler": {"successor": scheduler}}, tmp_path / "c"
    )
    got = read_host_checkpoint(tmp_path / "c")
    assert got["epoch"] == 7
    assert all(torch.equal(got["state_dict"][name], value) for name, value in weights.items())
    assert not isinstance(got["scheduler"]["successor"], torch.optim.lr_scheduler.LRScheduler)


def test_nothing_in_the_file_is_executed(tmp_path):
    target = tmp_path / "made"
    torch.save({"state_dict": {"a": torch.ones(1)}, "scheduler": Evil(str(target))}, tmp_path / "c")
    assert torch.equal(read_host_checkpoint(tmp_path / "c")["state_dict"]["a"], torch.ones(1))
    assert not target.exists()


@pytest.mark.parametrize("content", [{"epoch": 1}, [1, 2], {"state_dict": {"a": 3}}])
def test_other_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "c")
    with pytest.raises(CheckpointError, match="no Dassl checkpoint"):
        read_host_checkpoint(tmp_path / "c")


def test_missing_and_truncated_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not there"):
        read_host_checkpoint(tmp_path / "absent")
    torch.save({"state_dict": {"a": torch.ones(1000)}}, tmp_path / "c")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="cut short"):
        read_host_checkpoint(tmp_path / "c")


def test_only_a_file_that_the_user_names_is_unpickled_and_that_is_said(
    tmp_path, monkeypatch, capsys
):
    paths = [tmp_path / "named", tmp_path / "found"]
    for path in paths:
        torch.save({"state_dict": {"a": torch.ones(1)}, "scheduler": Evil(f"{path}-made")}, path)
    monkeypatch.setenv("LOREAL_UNPICKLE", os.pathsep.join([str(paths[0]), str(tmp_path / "other")]))
    for path in paths:
        assert torch.equal(read_host_checkpoint(path)["state_dict"]["a"], torch.ones(1))
    assert (tmp_path / "named-made").is_dir() and not (tmp_path / "found-made").exists()
    said = capsys.readouterr().out
    assert (
        "named is unpickled fully, because LOREAL_UNPICKLE names it: this runs whatever code it"
        " holds" in said
    )
    assert "found" not in said
