"""Learning-rate schedules, one step an epoch: a main schedule, optionally after a warm-up.

With base rate b, W warm-up epochs and E = MAX_EPOCH, the rate in epoch e (from 0) is, for `cosine`:
constant warm-up WARMUP_CONS_LR for e < W, then b * (1 + cos(pi * (e - W) / E)) / 2.
"""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR
from yacs.config import CfgNode

from dassl._plugin import CheckpointError, ConfigError
from dassl.utils import check_availability


class WarmupScheduler(LRScheduler):
    """A warm-up of some epochs, then the `successor` schedule.

    The saved state is numbers only: that of the successor is nested in it and goes back into the
    live successor, which keeps stepping the live optimiser. (Dassl's state holds the successor
    object itself; a run resumed from it steps an optimiser that nobody uses, and its file needs
    full unpickling.)
    """

    def __init__(
        self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, last_epoch: int = -1
    ) -> None:
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch)

    def warmup_lr(self, base_lr: float) -> float:
        """Return the rate of the current warm-up epoch for a group with that base rate."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """Return the rate of each parameter group: of the warm-up, then of the successor."""
        if self.last_epoch >= self.warmup_epoch:
            return list(self.successor.get_last_lr())
        return [self.warmup_lr(base_lr) for base_lr in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch, in the warm-up or in the successor."""
        if self.last_epoch < self.warmup_epoch:
            super().step(epoch)
            return
        self.successor.step(epoch)
        self._last_lr = list(self.successor.get_last_lr())

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of both schedules, those of the successor nested under its name."""
        state = {key: value for key, value in super().state_dict().items() if key != "successor"}
        return {**state, "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; the successor stays the live one.

        Raises:
            CheckpointError: the successor is a pickled object, which reading leaves out.
        """
        own = dict(state_dict)
        if not own.get("successor"):
            raise CheckpointError(
                "the schedule of this checkpoint is a pickled object of the original Dassl: its"
                " weights load, but a training cannot go on from it here; resume it on the host"
                " that wrote it"
            )
        self.successor.load_state_dict(own.pop("successor"))
        super().load_state_dict(own)


class ConstantWarmupScheduler(WarmupScheduler):
    """The same small rate in every warm-up epoch."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        cons_lr: float,
        last_epoch: int = -1,
    ) -> None:
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self, base_lr: float) -> float:
        """Return the fixed rate, whatever the base rate."""
        return self.cons_lr


class LinearWarmupScheduler(WarmupScheduler):
    """A small rate in the first epoch, then a growing fraction of the base rate."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        min_lr: float,
        last_epoch: int = -1,
    ) -> None:
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self, base_lr: float) -> float:
        """Return the smallest rate in the first epoch, then the share of `base_lr` reached."""
        return base_lr * self.last_epoch / self.warmup_epoch if self.last_epoch else self.min_lr


def _single_step(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    size = optim_cfg.STEPSIZE
    size = size[-1] if isinstance(size, (list, tuple)) else size
    if not isinstance(size, int):
        raise ConfigError(
            f"OPTIM.STEPSIZE for single_step has to be a whole number of epochs, not {size!r}"
        )
    return StepLR(
        optimizer, step_size=size if size > 0 else optim_cfg.MAX_EPOCH, gamma=optim_cfg.GAMMA
    )


def _multi_step(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    if not isinstance(optim_cfg.STEPSIZE, (list, tuple)):
        raise ConfigError(
            f"OPTIM.STEPSIZE for multi_step is a list of epochs, not {optim_cfg.STEPSIZE!r}"
        )
    return MultiStepLR(optimizer, milestones=list(optim_cfg.STEPSIZE), gamma=optim_cfg.GAMMA)


def _cosine(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=float(optim_cfg.MAX_EPOCH))


_SCHEDULES = {"single_step": _single_step, "multi_step": _multi_step, "cosine": _cosine}
_WARMUPS = {
    "constant": lambda o, after, c: ConstantWarmupScheduler(
        o, after, c.WARMUP_EPOCH, c.WARMUP_CONS_LR
    ),
    "linear": lambda o, after, c: LinearWarmupScheduler(o, after, c.WARMUP_EPOCH, c.WARMUP_MIN_LR),
}


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    """Return the schedule that `optim_cfg` describes; it sets the optimiser to the rate of epoch 0.

    Raises:
        ConfigError: for an unknown schedule or warm-up, or a STEPSIZE of the wrong kind.
    """
    check_availability(optim_cfg.LR_SCHEDULER, list(_SCHEDULES), kind="schedule")
    scheduler = _SCHEDULES[optim_cfg.LR_SCHEDULER](optimizer, optim_cfg)
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler
    check_availability(optim_cfg.WARMUP_TYPE, list(_WARMUPS), kind="warm-up")
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    return _WARMUPS[optim_cfg.WARMUP_TYPE](optimizer, scheduler, optim_cfg)
