"""Reading back what a trainer learned, from its own checkpoints and those of the real hosts."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor, nn

from trainers._plugin import CheckpointError

# of another size after training at another resolution; the image encoder then keeps its own
POSITIONS = "image_encoder.positional_embedding"


def find_checkpoint(folder: Path, epoch: int | None) -> Path:
    """Return the checkpoint of `epoch`; without one, the best, else the last by number.

    Raises:
        CheckpointError: there is none; the text lists what the folder holds.
    """
    numbered = {
        int(match[1]): path
        for path in folder.glob("model.pth.tar-*")
        if (match := re.search(r"-(\d+)$", path.name))
    }
    best = folder / "model-best.pth.tar"
    if epoch is not None and epoch in numbered:
        return numbered[epoch]
    if epoch is None and (best.is_file() or numbered):
        return best if best.is_file() else numbered[max(numbered)]
    wanted = "any checkpoint" if epoch is None else f"model.pth.tar-{epoch}"
    found = (
        ", ".join(sorted(path.name for path in folder.glob("*")))
        if folder.is_dir()
        else "no such folder"
    )
    raise CheckpointError(
        f"{folder} has no {wanted} (found: {found or 'nothing'}); check --model-dir and"
        " --load-epoch"
    )


def restore(module: nn.Module, state: dict[str, Tensor], fixed: tuple[str, ...]) -> None:
    """Load `state` into `module`; what follows from class names or input size stays as built.

    Args:
        fixed: last parts of the keys that are computed from the class names at hand.

    Raises:
        CheckpointError: a learned tensor is missing, unknown or has another shape.
    """
    own = module.state_dict()
    kept = {name: value for name, value in state.items() if name.rsplit(".", 1)[-1] not in fixed}
    misfits = [
        f"{name} is {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model"
        for name, value in kept.items()
        if name in own and value.shape != own[name].shape and name != POSITIONS
    ]
    learned = {name for name, value in module.named_parameters() if value.requires_grad}
    misfits += [f"{name} is missing in the file" for name in sorted(learned - kept.keys())]
    misfits += [f"{name} is unknown to the model" for name in sorted(kept.keys() - own.keys())]
    if misfits:
        raise CheckpointError(
            f"the checkpoint does not fit this model: {'; '.join(misfits[:5])} ({len(misfits)} in"
            " all); method, backbone, options and (with TRAINER.COOP.CSC) classes must be those of"
            " the training"
        )
    module.load_state_dict(kept, strict=False)


class LearnedPart:
    """The part of a model that a checkpoint has to hold: what trains.

    All else comes from the CLIP file.

    The public MaPLe and MMRL write the whole model, hundreds of megabytes an epoch; both kinds are
    read.

    Args:
        module: the registered model.
        fixed: see `restore`.
    """

    def __init__(self, module: nn.Module, fixed: tuple[str, ...]) -> None:
        self.module, self.fixed = module, fixed

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learned tensors by their names in the module, without their graph."""
        return {
            name: value.detach()
            for name, value in self.module.named_parameters()
            if value.requires_grad
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load learned tensors, or a whole model; see `restore`."""
        restore(self.module, state, self.fixed)
