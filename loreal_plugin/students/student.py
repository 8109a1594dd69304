"""A student: the host's own model at one input size, with what it learned, frozen.

Shapes: B images, C classes, K attributes, L context length, F features an image, D_t text width,
D_v joint width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.attach import AttachedHost
from loreal_plugin.config import with_settings
from loreal_plugin.contract import HostContract, HostPrompts
from loreal_plugin.contract.base import HostModel, bare_model
from loreal_plugin.errors import HostError
from loreal_plugin.students.learned import fingerprint, load_learned, take_learned
from loreal_plugin.text.blocks import TextBlocks

_BASE = "TrainerBase"


def _no_text_path(*_: Any, **__: Any) -> Tensor:
    raise RuntimeError("this student has no slots in its prompts: bind it with `with_slots`")


def _enlarged(encode: Callable[[Tensor], Tensor], size: int, images: Tensor) -> Tensor:
    """Return what an encoder makes of images (B, 3, S, S) that are enlarged to its size."""
    return encode(F.interpolate(images, size=(size, size), mode="bicubic"))


@dataclass(eq=False)
class Student:
    """A frozen host model, bound to its host contract and to the text path of its prompts.

    Attributes:
        model: the host's `trainer.model`, in eval mode, without gradients.
        contract: how to ask it.
        cfg: the configuration it was built from.
        classnames: C names in the order of the prompts.
        learned: what the host learned, by name in `model`; the same objects as its parameters.
        input_size: side of the images it is given, pixels.
        token_weight: (vocabulary, D_t) token embeddings of its CLIP.
        tokenize: CLIP's tokenizer as the host uses it.
        words: the K attributes in its slots, or K for every class; none: its prompts have no slots.
        text_path: contents (B, K, D_t) -> text features (B, C, D_v) of its prompts with slots; a
            `PrefixTextPath` or a `ReferenceTextPath`.
        condition_on: which feature the meta-nets read where there are two (MMRL_CONDITION).
        mean: (F, D_v) features of the mean training picture; None before there is one.
        adaptation: updates of its image side that were merged into `model`; none: it is the host's.
        encoder_size: side of the images that the host's encoder reads; 0 stands for `input_size`.

    Bound to the model when the student is made:
        encode_image: images (B, 3, input_size, input_size) -> L2-normalised features (B, F, D_v);
            `encode_image_with_grad` is the same with gradients.
        condition: features (B, F, D_v) -> the vector (B, D_v) that the meta-nets read.
        logits: features, text features (C, D_v) or (B, C, D_v), fusion -> scaled logits (B, C).
        prompt_shift: features -> what images add to rows 1..n of the prompts (B, n, D_t); None
            where the host's own prompts are the same for every image.
        prompts: () -> the host's own prompts, without gradients.
        encode_text: prompts (N, L, D_t), tokens (N, L) -> features (N, D_v), unnormalised.
        encode_classes: the same, with the class (N,) of each prompt as a third argument.
        embed_contents: contents (B, K, D_t) -> the same as the host changes token embeddings.
        text_blocks: () -> the text encoder in pieces, for the prefix path.
    """

    model: HostModel
    contract: HostContract
    cfg: Any
    classnames: tuple[str, ...]
    learned: dict[str, Tensor]
    input_size: int
    token_weight: Tensor
    tokenize: Callable[..., Tensor]
    words: tuple[Any, ...] = ()
    text_path: Any = _no_text_path
    condition_on: str = "class"
    mean: Tensor | None = None
    adaptation: dict[str, Tensor] = field(default_factory=dict)
    encoder_size: int = 0

    def __post_init__(self) -> None:
        contract, model = self.contract, self.model
        self.encoder_size = self.encoder_size or self.input_size
        encode: Callable[[Tensor], Tensor] = partial(contract.encode_image, model)
        if self.encoder_size != self.input_size:
            encode = partial(_enlarged, encode, self.encoder_size)
        self.encode_image_with_grad, self.encode_image = encode, torch.no_grad()(encode)
        share = contract.fusion_weight(model)
        self.condition: Callable[..., Tensor] = partial(
            contract.condition, mode=self.condition_on, alpha=share
        )
        self.logits: Callable[..., Tensor] = partial(contract.logits, model)
        shift: Callable[[Tensor], Tensor | None] = partial(contract.prompt_shift, model)
        self.prompt_shift = None if contract.static_prompts else shift
        named = partial(contract.prompts, model, self.classnames, self.tokenize)
        self.prompts: Callable[[], HostPrompts] = named
        self.encode_text: Callable[[Tensor, Tensor], Tensor] = partial(contract.encode_text, model)
        self.encode_classes: Callable[..., Tensor] = partial(contract.encode_classes, model)
        self.embed_contents: Callable[[Tensor], Tensor] = partial(contract.embed_contents, model)
        self.text_blocks: Callable[[], TextBlocks] = partial(contract.text_blocks, model, self.cfg)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type the host computes in."""
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.token_weight.device

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Return token ids (...) as rows of the host's prompts, (..., D_t)."""
        return self.contract.token_rows(self.model, self.token_weight, ids)

    # ---- the host alone --------------------------------------------------------------------------

    @torch.no_grad()
    def host_logits(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of the host alone, without slots, for features (B, F, D_v)."""
        shifts = None if self.prompt_shift is None else self.prompt_shift(features)
        texts = self.host_texts
        if shifts is not None:  # prompts that differ from image to image
            texts = torch.stack([self._texts(shift) for shift in shifts])
        fusion = self.contract.use_fusion(self.cfg)
        return self.logits(features.to(texts), texts, fusion)

    @cached_property
    def host_texts(self) -> Tensor:
        """Text features (C, D_v) of the host's own prompts, without slots, in float32."""
        return self._texts()

    @torch.no_grad()
    def _texts(self, shift: Tensor | None = None) -> Tensor:
        """Return text features (C, D_v); `shift` (n, D_t) is added to rows 1..n of the prompts."""
        prompts = self.prompts()
        rows = prompts.embeddings
        if shift is not None:
            rows = rows.clone()
            rows[:, 1 : 1 + len(shift)] += shift.to(rows.dtype)
        classes = torch.arange(len(rows), device=rows.device)
        return self.encode_classes(rows, prompts.tokens, classes).float()

    # ---- what it holds ---------------------------------------------------------------------------

    def slim(self, *, text: bool) -> None:
        """Let go of what predictions do not need: token embeddings, and the text encoder.

        Args:
            text: predictions need the text encoder, so it stays.
        """
        self.token_weight = self.token_weight[:1].clone()  # it also says where the model is
        if not text:
            self.text_path, self.model.text_encoder = _no_text_path, None

    def fingerprint(self) -> str:
        """Return a SHA-256 over what was learned: names, types, shapes and values."""
        updates = {f"adaptation.{name}": value for name, value in self.adaptation.items()}
        return fingerprint({**self.learned, **updates})


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
    """Build the host's model with the host's own `build_model`, load what it learned, freeze it.

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
    shell, token_weight = _built(host, cfg, classnames, torch.device(device))
    model = shell.model
    parameters = contract.learned(model)
    if checkpoint_dir is not None:
        load_learned(model, parameters, contract, Path(checkpoint_dir), epoch)
    elif learned is not None:
        take_learned(parameters, learned, f"method {contract.method}")
    model.requires_grad_(False).eval()
    contract.reset(model)
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


def _built(
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

    Its optimisers and, for MMRL, its zero-shot teacher go away with it: only its model is kept.
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
