"""A student: the host's own model at one input size, with what it learned, frozen.

Shapes: B images, C classes, K attributes, L context length, F features an image, D_t text width,
D_v joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.contract import HostContract, HostPrompts
from loreal_plugin.contract.base import HostModel
from loreal_plugin.contract.text import attribute_ids, attributes_per_class, text_ids
from loreal_plugin.errors import ConfigError
from loreal_plugin.method.losses import text_passes
from loreal_plugin.method.slots import splice_slots
from loreal_plugin.options import WITH_CONTENTS, WITH_WORDS, LorealOptions
from loreal_plugin.students.learned import fingerprint
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath
from loreal_plugin.text.blocks import TextBlocks


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
        adaptation: updates of its image side, already merged into `model`; empty: as the host's.
            After `slim` their names alone tell something.
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
    _fingerprint: str = ""  # once it cannot be computed any more

    def __post_init__(self) -> None:
        contract, model = self.contract, self.model
        self.encoder_size = self.encoder_size or self.input_size
        encode: Callable[[Tensor], Tensor] = partial(contract.encode_image, model)
        if self.encoder_size != self.input_size:
            encode = partial(_enlarged, encode, self.encoder_size)
        self.encode_image_with_grad, self.encode_image = encode, torch.no_grad()(encode)
        self.condition: Callable[..., Tensor] = partial(
            contract.condition, model, mode=self.condition_on
        )
        self.logits: Callable[..., Tensor] = partial(contract.logits, model)
        shift: Callable[[Tensor], Tensor | None] = partial(contract.prompt_shift, model)
        self.prompt_shift = None if contract.static_prompts else shift
        self.prompts: Callable[[], HostPrompts] = partial(
            contract.prompts, model, self.classnames, self.tokenize
        )
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
        """Let go of what predictions do not need: token embeddings, merged updates, text encoder.

        Args:
            text: predictions need the text encoder, so it stays.
        """
        self.token_weight = self.token_weight[:1].clone()  # it also says where the model is
        self._fingerprint = self.fingerprint()
        self.adaptation = {name: value.new_empty(0) for name, value in self.adaptation.items()}
        if not text:
            self.text_path, self.model.text_encoder = _no_text_path, None

    def fingerprint(self) -> str:
        """Return a SHA-256 over what was learned: names, types, shapes and values."""
        if self._fingerprint:
            return self._fingerprint
        updates = {f"adaptation.{name}": value for name, value in self.adaptation.items()}
        return fingerprint({**self.learned, **updates})


# ---- slots in its prompts ------------------------------------------------------------------------


def with_slots(student: Student, words: Sequence[Any], options: LorealOptions) -> Student:
    """Return the student with slots for these attributes in its prompts; the model is the same.

    Args:
        words: K attributes, or K for every class.

    Raises:
        ConfigError: the method cannot take the slot order, or a prompt would be too long.
        AttributeFileError: an attribute tokenises to nothing.
    """
    path = build_text_path(student, words, options)
    as_tuples = tuple(word if isinstance(word, str) else tuple(word) for word in words)
    return replace(student, words=as_tuples, text_path=path, condition_on=options.mmrl_condition)


def check_text_path(contract: HostContract, options: LorealOptions) -> None:
    """Check that a method can take the slot order and the text path.

    Raises:
        ConfigError: it overwrites the rows where the slots would be; or its prompts differ from
            image to image, so that nothing of them can be computed once a class.
    """
    if options.slot_order not in contract.slot_orders:
        raise ConfigError(
            f"SLOT_ORDER {options.slot_order} is not possible for method '{contract.method}', which"
            " overwrites the rows after the start token; choose"
            f" {' or '.join(contract.slot_orders)}"
        )
    if options.text_path == "prefix" and not contract.static_prompts:
        raise ConfigError(
            f"TEXT_PATH prefix is not possible for method '{contract.method}', whose own context"
            " depends on the image; set TRAINER.LOREAL.TEXT_PATH reference"
        )


def build_text_path(
    student: Student, words: Sequence[Any], options: LorealOptions
) -> PrefixTextPath | ReferenceTextPath:
    """Return contents (B, K, D_t) -> text features (B, C, D_v); arguments as in `with_slots`."""
    check_text_path(student.contract, options)
    host, names = student.prompts(), list(student.classnames)
    ids = attributes_per_class(attribute_ids(words, student.tokenize), names)
    prompts = splice_slots(
        host.embeddings,
        host.tokens,
        attribute_tokens=ids,
        embed=student.token_embedding,
        n_content=options.n_content,
        order=options.slot_order,
        class_start=host.class_start,
        with_token=text_ids("with", student.tokenize)[0],
        period_token=text_ids(".", student.tokenize)[0],
        classnames=names,
        words=options.slot_parts in WITH_WORDS,
        contents=options.slot_parts in WITH_CONTENTS,
    )
    budget = options.memory_budget_mb * 2**20
    if budget:  # text passes of a training step hold their activations at the same time
        budget //= text_passes(options)
    if options.text_path == "reference":
        encode, change = student.encode_classes, student.embed_contents
        return ReferenceTextPath(
            prompts, encode, options.class_chunk, change, budget, by_class=True
        )
    return PrefixTextPath(prompts, student.text_blocks(), options.class_chunk, budget=budget)
