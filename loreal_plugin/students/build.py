"""From a host to a frozen student with what it learned, and the start of the meta-nets.

Shapes: C classes, K attributes, D_t text width, D_v joint width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost
from loreal_plugin.config import with_settings
from loreal_plugin.contract.base import HostContract, HostModel, bare_model
from loreal_plugin.contract.text import attribute_ids, text_ids
from loreal_plugin.errors import HostError
from loreal_plugin.method.meta_nets import MetaNets, init_meta_nets_
from loreal_plugin.options import LorealOptions
from loreal_plugin.students.learned import load_learned, take_learned
from loreal_plugin.students.student import Student

_BASE = "TrainerBase"

# The start of META_INIT neutral: a word that says next to nothing before an attribute. In the
# captions of the demonstration world it means that a value is not named.
NEUTRAL_WORD = "some"


def device_of(cfg: Any) -> torch.device:
    """Return the device that Dassl's trainers choose for a configuration."""
    return torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")


def build_student(
    host: AttachedHost,
    cfg: Any,
    classnames: Sequence[str],
    device: torch.device | str,
    *,
    input_size: int,
    checkpoint_dir: Path | str | None = None,
    epoch: int | None = None,
    learned: Mapping[str, Tensor] | None = None,
    enlarge: int = 0,
) -> Student:
    """Return a frozen student: the host's own `build_model`, then what it learned is loaded.

    Args:
        host: attached for the student's method.
        cfg: a configuration of the host; `INPUT.SIZE` is replaced.
        classnames: C names, in the order of the logits; no picture is read.
        device: where the model goes.
        input_size: side of the images, pixels.
        checkpoint_dir, epoch: output folder of the host's training; None or 0 is the last epoch.
        learned: the learned tensors by name instead; without both the initial values stay.
        enlarge: side to which the student enlarges its images, pixels; 0: it does not.

    Raises:
        HostError: what was built does not answer the contract.
        CheckpointError: a learned tensor is missing or of another shape.
    """
    contract = host.contract
    cfg = at_size(cfg, contract.trainer, enlarge or input_size)
    shell, token_weight = _build_trainer(host, cfg, classnames, torch.device(device))
    model = shell.model
    parameters = contract.learned(model)
    if checkpoint_dir is not None:
        load_learned(model, parameters, contract, Path(checkpoint_dir), epoch)
    elif learned is not None:
        take_learned(parameters, learned, contract)
    _freeze(model, contract)
    return Student(
        model=model,
        contract=contract,
        cfg=shell.cfg,
        classnames=tuple(classnames),
        learned=dict(parameters),
        input_size=input_size,
        token_weight=token_weight.to(device),
        tokenize=host.tokenize,
        encoder_size=enlarge,
    )


def _freeze(model: HostModel, contract: HostContract) -> None:
    """Freeze a model, without what it remembers; its unused tensors become no numbers.

    A host may draw those anew in each build; one that is read after all has to show.
    """
    model.requires_grad_(False).eval()
    for value in contract.unused_tensors(model).values():
        value.fill_(float("nan") if value.is_floating_point() else 0)
    contract.reset(model)


def _build_trainer(
    host: AttachedHost, cfg: Any, classnames: Sequence[str], device: torch.device
) -> tuple[Any, Tensor]:
    """Return the host's trainer with its model, checked, and its CLIP's token embeddings."""
    shell = build_shell(host, cfg, classnames, device)
    with host.clips.recorded() as clips:
        shell.build_model()
    host.contract.check(shell, f"host '{host.path.name}'")
    # Dassl's trainers wrap the model where there are several GPUs; students run on one.
    shell.model = bare_model(shell)
    if not host.contract.learned(shell.model):
        where = f"host '{host.path.name}': {host.contract.trainer}.build_model"
        raise HostError(f"{where} left nothing to learn")
    return shell, _token_weight(clips, shell.model)


def at_size(cfg: Any, trainer: str, input_size: int) -> Any:
    """Return a frozen copy of the configuration for the host's trainer at another input size."""
    return with_settings(cfg, {"INPUT.SIZE": (input_size, input_size), "TRAINER.NAME": trainer})


def build_shell(
    host: AttachedHost, cfg: Any, classnames: Sequence[str], device: torch.device
) -> Any:
    """Return an instance of the host's trainer that has no model yet and has loaded no data.

    The caller keeps its model alone: optimisers and MMRL's zero-shot teacher go away with it.

    Raises:
        HostError: the trainer is no Dassl trainer.
    """
    trainer: Any = host.trainer_class
    shell = trainer.__new__(trainer)
    bases = [base for base in trainer.__mro__ if base.__name__ == _BASE]
    if not bases:
        raise HostError(
            f"trainer {host.contract.trainer} of host '{host.path.name}' is no Dassl trainer"
        )
    bases[0].__init__(shell)
    shell._models, shell._optims, shell._scheds = OrderedDict(), OrderedDict(), OrderedDict()
    names = list(classnames)
    shell.cfg, shell.device = cfg, device
    shell.num_classes, shell.lab2cname = len(names), dict(enumerate(names))
    # Hosts ask Dassl's data manager for class names to build a model, and for nothing else.
    shell.dm = SimpleNamespace(
        dataset=SimpleNamespace(classnames=names, lab2cname=shell.lab2cname),
        num_classes=shell.num_classes,
        lab2cname=shell.lab2cname,
    )
    shell.start_epoch = shell.epoch = 0
    shell.max_epoch, shell.output_dir = cfg.OPTIM.MAX_EPOCH, cfg.OUTPUT_DIR
    shell.check_cfg(cfg)
    return shell


def _token_weight(clips: Sequence[HostModel], model: HostModel) -> Tensor:
    """Return the token embeddings of the CLIP that the model was made of: hosts drop them."""
    for clip in clips:
        if clip.transformer is model.text_encoder.transformer:
            return clip.token_embedding.weight.detach()
    raise HostError(
        f"none of the {len(clips)} CLIP models that load_clip_to_cpu made is in the host's model:"
        " its token embedding cannot be found"
    )


def start_meta_nets(
    student: Student, visual_dim: int, options: LorealOptions, seed: int
) -> MetaNets:
    """Return freshly started meta-nets in float32; the start depends on the seed alone.

    Args:
        student: has the attributes and the token embeddings.
        visual_dim: D_v.
    """
    text_dim, words = student.token_weight.shape[-1], student.words
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = MetaNets(
            options.n_attributes, visual_dim, options.hidden_dim, text_dim, options.meta_bias
        )
    if options.meta_init != "default":
        ids = attribute_ids(words, student.tokenize)
        # the ids of meta-net k: of one attribute, or of the k-th attribute of every class
        of_nets = [[i] for i in ids] if isinstance(words[0], str) else list(zip(*ids, strict=True))
        means = [torch.cat([_rows(student, i) for i in of_net]).mean(0) for of_net in of_nets]
        neutral = _rows(student, text_ids(NEUTRAL_WORD, student.tokenize)).mean(0)
        start = torch.stack(means)
        init_meta_nets_(nets, options.meta_init, word_embeddings=start, neutral=neutral)
    return nets.to(student.device)


def _rows(student: Student, ids: Sequence[int]) -> Tensor:
    """Return the token embeddings (n, D_t) of some ids, in float32 on the CPU."""
    return student.token_embedding(torch.tensor(list(ids))).float().cpu()
