"""Stage-3 checkpoints: whole or absent, and refused where they do not belong."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.tensors import pack_optimizer, replay_schedule, unpack_optimizer
from loreal_plugin.trainer import checkpoint as files

IDENTITY = dict.fromkeys(files.IDENTITY, 1) | {"method": "coop", "attributes": ["color", "shape"]}


def write(folder, number: int = 1, **record):
    tensors = {"meta_nets.0.up.weight": torch.arange(6.0).view(2, 3)}
    return files.write_checkpoint(
        folder / "loreal", files.file_name(number), tensors, {"identity": IDENTITY, **record}
    )


def test_round_trip_and_latest(tmp_path):
    assert files.latest_checkpoint(tmp_path) is None
    write(tmp_path, 1, epoch=1)
    path = write(tmp_path, 2, epoch=2)
    tensors, record = files.read_checkpoint(path)
    assert (
        torch.equal(tensors["meta_nets.0.up.weight"], torch.arange(6.0).view(2, 3))
        and record["epoch"] == 2
    )
    assert files.latest_checkpoint(tmp_path) == path == files.find_checkpoint(tmp_path, None)
    assert files.find_checkpoint(tmp_path, 1).name == "model-1.safetensors"
    files.write_checkpoint(tmp_path / "loreal", files.BEST, tensors, record)
    assert files.find_checkpoint(tmp_path, None).name == files.BEST
    assert files.latest_checkpoint(tmp_path) == path
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "checkpoint",
        "model-1.safetensors",
        "model-2.safetensors",
        "model-best.safetensors",
    ]


@pytest.mark.parametrize("damage", ["truncate", "foreign", "empty", "version"])
def test_broken_files_are_named(tmp_path, damage):
    path = write(tmp_path)
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "foreign":
        save_file({"a": torch.ones(1)}, str(path), {})
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        save_file({"a": torch.ones(1)}, str(path), {"loreal": '{"version": 99}'})
    with pytest.raises(
        CheckpointError, match="version 99" if damage == "version" else "model-1.safetensors"
    ):
        files.read_checkpoint(path)


def test_absent_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="model-7"):
        files.read_checkpoint(files.find_checkpoint(tmp_path, 7))
    with pytest.raises(CheckpointError, match="run stage 3 first"):
        files.find_checkpoint(tmp_path, None)


def test_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = write(tmp_path, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write(tmp_path, 2)
    assert files.latest_checkpoint(tmp_path) == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["checkpoint", "model-1.safetensors"]


def test_identity_names_both_values_of_every_difference(tmp_path):
    record = {"identity": IDENTITY}
    files.check_identity(tmp_path, record, IDENTITY)
    mine = IDENTITY | {"method": "maple", "n_attributes": 3}
    with pytest.raises(
        CheckpointError, match="method is 'coop' in the file, 'maple' here; n_attributes is 1"
    ):
        files.check_identity(tmp_path, record, mine)
    files.check_identity(tmp_path, record, IDENTITY | {"attributes": []}, skip=("attributes",))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_optimiser_goes_on_as_if_never_stopped(kind):
    def make():
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        settings = {"lr": 0.1, "weight_decay": 0.01}
        optimiser = (
            torch.optim.SGD(net.parameters(), momentum=0.9, **settings)
            if kind == "sgd"
            else torch.optim.AdamW(net.parameters(), **settings)
        )
        return net, optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 6)

    def step(net, optimiser, schedule, number):
        optimiser.zero_grad()
        net(torch.full((1, 3), float(number))).square().sum().backward()
        optimiser.step()
        schedule.step()

    whole = make()
    for number in range(6):
        step(*whole, number)
    first = make()
    for number in range(3):
        step(*first, number)
    tensors, plain = pack_optimizer(first[1])
    second = make()
    second[0].load_state_dict(first[0].state_dict())
    unpack_optimizer(second[1], tensors, plain)
    replay_schedule(second[2], 3)
    for number in range(3, 6):
        step(*second, number)
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True)
    )
