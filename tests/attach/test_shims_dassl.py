"""Repairs of Dassl on today's torch: each cause is found, repaired, and the repair taken back."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from shims_on_modules import applied
from torch import nn

SCHEDULE = """
from torch.optim.lr_scheduler import LRScheduler
class _BaseWarmupScheduler(LRScheduler):
    def __init__(self, optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False):
        self.successor, self.warmup_epoch = successor, warmup_epoch
        super().__init__(optimizer, last_epoch)
    def get_lr(self):
        return [1e-5 for _ in self.base_lrs]
    def step(self, epoch=None):
        if self.last_epoch < self.warmup_epoch:
            return super().step(epoch)
        self.successor.step(epoch)
"""
TOOLS = """
import torch
def resume_from_checkpoint(fdir, model, optimizer=None, scheduler=None):
    name = open(fdir + "/checkpoint").readlines()[0].strip()
    saved = torch.load(fdir + "/" + name, weights_only=False)
    for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
        if part is not None:
            part.load_state_dict(saved[name])
    return saved["epoch"]
def save(state, path):
    torch.save(state, path)
"""


def run_of(schedules: types.ModuleType) -> tuple[nn.Module, torch.optim.Optimizer, object]:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0035)
    after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return model, optimizer, schedules._BaseWarmupScheduler(optimizer, after, 1)


def rates(optimizer, schedule, epochs):
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.fixture
def interrupted(fake, tmp_path):
    """Give the modules, the rates of six epochs, and the folder of a run stopped after three."""
    schedules, tools = (
        fake("dassl.optim.lr_scheduler", SCHEDULE),
        fake("dassl.utils.torchtools", TOOLS),
    )
    model, optimizer, schedule = run_of(schedules)
    whole = rates(optimizer, schedule, 3)
    state = {"model": model, "optimizer": optimizer, "scheduler": schedule}
    path = tmp_path / "model.pth.tar-3"
    torch.save({**{name: part.state_dict() for name, part in state.items()}, "epoch": 3}, path)
    (tmp_path / "checkpoint").write_text(path.name + "\n")
    return schedules, tools, whole + rates(optimizer, schedule, 3), str(tmp_path)


def test_resumed_run_has_the_rates_of_an_uninterrupted_one(interrupted, tmp_path):
    schedules, tools, whole, folder = interrupted
    model, optimizer, schedule = run_of(schedules)
    tools.resume_from_checkpoint(folder, model, optimizer, schedule)
    assert (
        len(set(rates(optimizer, schedule, 3))) == 1
    )  # the cause: a copy of the schedule is stepped
    engine = types.ModuleType("dassl.engine.trainer")
    engine.resume_from_checkpoint = tools.resume_from_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, engine.__name__, engine)
        with applied("resume", tmp_path):
            model, optimizer, schedule = run_of(schedules)
            assert engine.resume_from_checkpoint(folder, model, optimizer, schedule) == 3
            assert rates(optimizer, schedule, 3) == whole[3:]


def test_run_without_a_whole_checkpoint_starts_anew_and_saving_is_whole(
    interrupted, tmp_path, monkeypatch
):
    schedules, tools, _, folder = interrupted
    with applied("resume", tmp_path):
        tools.save({"epoch": 4}, tmp_path / "saved")
        assert (
            torch.load(tmp_path / "saved") == {"epoch": 4} and not (tmp_path / "saved.tmp").exists()
        )
        (tmp_path / "checkpoint").write_text("")  # killed between opening and writing
        assert tools.resume_from_checkpoint(folder, *run_of(schedules)) == 3
        assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-3\n"
        (tmp_path / "checkpoint").unlink()
        assert tools.resume_from_checkpoint(folder, *run_of(schedules)) == 0
    assert tools.torch is torch


def test_names_that_numpy_lost_are_lent_to_the_transforms_alone(fake, tmp_path):
    source = "import numpy as np\ndef whole(x):\n    return np.round(x).astype(np.int)\n"
    module = fake("dassl.data.transforms.fake", source)
    if np.__version__.startswith("1.23."):
        pytest.skip("numpy 1.23 still has these names")
    with pytest.raises(AttributeError):
        module.whole(np.ones(2))
    with applied("numpy", tmp_path):
        assert module.whole(np.full(2, 1.6)).tolist() == [2, 2]
        assert not hasattr(np, "int")
    assert module.np is np
