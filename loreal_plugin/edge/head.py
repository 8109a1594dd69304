"""A head: features of pictures -> logits of its classes, in numpy.

`static` has one text feature a class. `tangent` has a text feature that moves with the picture: a
constant and terms, which are linear in the activations of the meta-nets, and products of a few.

Shapes: B pictures, C classes, F features a picture, D width, H activations, R directions, P
products, T = R + P terms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.errors import CheckpointError, ConfigError

NOTE = "loreal.head"  # the key of a head's facts in the files' own descriptions
MODES = ("static", "tangent")
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
}
_OF_CLASSES = ("text", "weights", "base")  # tensors with a row a class; `table` has a column
_TINY = 1e-12
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True)
class Head:
    """One class set.

    Attributes:
        labels: C names.
        mode: `static` or `tangent`.
        scale: factor between cosine and logit.
        source: key of the run whose encoder it belongs to.
        tensors: `weights` (C, F), how much each feature counts for a class; `static`: `text` (C, D)
            normalised; `tangent`: `mix` (F,) and `down` (D, H), `bias` (H,) of the meta-nets,
            `basis` (H, R), `shift` (R,), `pairs` (2, P) of directions that are multiplied, `base`
            (C, D), `table` (T, C, D).
    """

    labels: tuple[str, ...]
    mode: str
    scale: float
    source: str
    tensors: Mapping[str, np.ndarray]

    @property
    def note(self) -> str:
        """The facts of the head as JSON."""
        facts = {
            "labels": list(self.labels),
            "mode": self.mode,
            "scale": self.scale,
            "source": self.source,
        }
        return json.dumps(facts, ensure_ascii=False)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return logits (B, C) of features (B, F, D)."""
        t = {
            name: value if value.dtype.kind == "i" else value.astype(np.float32, copy=False)
            for name, value in self.tensors.items()
        }
        if self.mode == "static":
            cosines = np.einsum("bfd,cd->bcf", features, t["text"])
        else:
            text = _moved(t, features)
            text /= np.maximum(np.linalg.norm(text, axis=-1, keepdims=True), _TINY)
            cosines = np.einsum("bfd,bcd->bcf", features, text)
        return np.float32(self.scale) * (cosines * t["weights"]).sum(-1)


def _moved(t: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Return the text features (B, C, D) of pictures, not normalised."""
    condition = np.einsum("f,bfd->bd", t["mix"], features)
    if len(t["mix"]) > 1:  # with a single feature it has length one already
        condition /= np.maximum(np.linalg.norm(condition, axis=-1, keepdims=True), _TINY)
    hidden = np.maximum(condition @ t["down"] + t["bias"], 0)  # (B, H)
    z = hidden @ t["basis"] - t["shift"]  # (B, R)
    i, j = t["pairs"]
    terms = np.concatenate([z, z[:, i] * z[:, j] - (i == j)], axis=1)  # (B, T)
    return t["base"] + np.einsum("bt,tcd->bcd", terms.astype(np.float32), t["table"])


def join(heads: Sequence[Head]) -> Head:
    """Return one head with the classes of several.

    Raises:
        ConfigError: they are of different runs or modes, or two have a class in common.
    """
    first = heads[0]
    for head in heads[1:]:
        for what in ("source", "mode", "scale"):
            if getattr(head, what) != getattr(first, what):
                raise ConfigError(
                    f"heads can be joined where they have the same run and mode; their {what} is"
                    f" {getattr(first, what)} and {getattr(head, what)}"
                )
    labels = [label for head in heads for label in head.labels]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"heads to join have classes in common: {', '.join(twice[:5])}")
    tensors = dict(first.tensors)
    for name in tensors:
        parts = [head.tensors[name] for head in heads]
        if name in _OF_CLASSES:
            tensors[name] = np.concatenate(parts)
        elif name == "table":
            tensors[name] = np.concatenate(parts, axis=1)
        elif not all(np.array_equal(part, parts[0]) for part in parts):
            raise ConfigError(
                f"tangent heads can be joined where their directions are the same; '{name}' differs"
            )
    return Head(tuple(labels), first.mode, first.scale, first.source, tensors)


def read_head(path: Path) -> Head:
    """Return the head in a safetensors file.

    Raises:
        CheckpointError: the file is missing, broken or no head.
    """
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        facts = json.loads(header.pop("__metadata__")[NOTE])
        data = memoryview(content)[8 + length :]
        tensors = {name: _tensor(data, entry) for name, entry in header.items()}
        return head_from(facts, tensors)
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is no head that can be read ({error}); make it again with loreal head"
        ) from None


def head_from(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Head:
    """Return a head from its facts and tensors.

    Raises:
        ValueError: the facts are not those of a head, or do not fit the tensors.
        KeyError, IndexError, TypeError: the same.
    """
    if facts["mode"] not in MODES:
        raise ValueError(f"mode {facts['mode']}")
    labels, source = labels_and_source(facts)
    head = Head(labels, facts["mode"], float(facts["scale"]), source, tensors)
    width = tensors["text"].shape[1] if head.mode == "static" else tensors["down"].shape[0]
    check_answer(head(np.zeros((1, tensors["weights"].shape[1], width), np.float32)), labels)
    return head


def labels_and_source(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return the class names of a head and the key of its run.

    Raises:
        ValueError: there are no names, or they are no texts.
        KeyError, TypeError: the facts are not those of a head.
    """
    labels, source = facts["labels"], facts["source"]
    if not isinstance(labels, list) or not labels or not isinstance(source, str):
        raise ValueError("it names no classes, or no run")
    if not all(isinstance(label, str) for label in labels):
        raise ValueError("its class names are no texts")
    return tuple(labels), source


def check_answer(logits: np.ndarray, labels: Sequence[str]) -> None:
    """Raise ValueError unless logits of one picture have a finite number for each class."""
    if logits.shape != (1, len(labels)):
        raise ValueError(f"it names {len(labels)} classes and answers with {logits.shape[1:]}")
    if not np.isfinite(logits).all():
        raise ValueError("its answers are not finite")


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> np.ndarray:
    start, end = entry["data_offsets"]
    return np.frombuffer(data[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
