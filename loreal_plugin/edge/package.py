"""`Package`: an exported run, opened to predict where there is no torch.

Shapes: B pictures, C classes, F features a picture, D width, S side of the pictures in pixels.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from loreal_plugin.edge.head import NOTE, Head, check_answer, labels_and_source, read_head
from loreal_plugin.edge.layout import ENCODERS, MANIFEST, check_files, inside, read_manifest
from loreal_plugin.edge.litert import litert_encoder
from loreal_plugin.edge.pixels import check_recipe, read_rgb, to_pixels
from loreal_plugin.errors import CheckpointError, ConfigError, DataError, one_line, unknown_name

Encoder = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Answer:
    """One class of a picture, with its probability among the head's classes."""

    classname: str
    probability: float


@dataclass(eq=False)
class Package:
    """A package in memory; `Package.open` makes one.

    Attributes:
        folder: where it lies.
        manifest: its `loreal.json`.
        labels: C names in the order of the logits.
        encoder: pixels (B, S, S, 3) uint8 -> features (B, F, D).
        head: features (B, F, D) -> logits (B, C).
    """

    folder: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]
    encoder: Encoder
    head: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def open(cls, folder: str | Path, *, head: str | Path | Head = "", threads: int = 1) -> Package:
        """Return the package in a folder, after the check of every file's hash.

        Args:
            head: a head of the package by name, or a head's file (.onnx, .safetensors), or a head;
                empty: the package's first.
            threads: processor threads that the encoder uses.

        Raises:
            CheckpointError: no package, a damaged one, one of another schema version; a head of
                another run.
            ConfigError: no such head, or what runs the encoder is not installed: onnxruntime, or
                ai-edge-litert for a package of that format.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        check_recipe(manifest["picture"])
        check_files(folder, manifest)
        if threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        found, labels = _head(folder, manifest, head, threads)
        return cls(folder, manifest, labels, _encoder(folder, manifest, threads), found)

    @property
    def size(self) -> int:
        """S."""
        return int(self.manifest["picture"]["size"])

    @property
    def one_by_one(self) -> bool:
        """Whether the encoder takes one picture at a time: it has no other batch, or its rounding
        depends on the batch.
        """
        facts = self.manifest["encoder"]
        return facts.get("batch") == 1 or not facts["rows_independent"]

    def pixels(self, picture: str | Path | Image.Image) -> np.ndarray:
        """Return a picture as the encoder reads it, (S, S, 3) uint8.

        Raises:
            DataError: the file is missing or broken, or it is neither a file nor a PIL picture.
        """
        return to_pixels(read_rgb(picture), self.manifest["picture"])

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return normalised features (B, F, D) of pixels (B, S, S, 3) uint8.

        Raises:
            DataError: another shape or type.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != self._shape:
            raise DataError(
                f"pixels must be uint8 (B, {', '.join(map(str, self._shape))}), got"
                f" {pixels.dtype} {pixels.shape}"
            )
        step = 1 if self.one_by_one else max(1, len(pixels))
        parts = [self.encoder(pixels[at : at + step]) for at in range(0, len(pixels), step)]
        return np.concatenate(parts)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.size, self.size, 3

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Return logits (B, C) of pixels (B, S, S, 3) uint8; a row depends on its picture alone."""
        return self.head(self.features(pixels))

    def predict(
        self, pictures: Iterable[str | Path | Image.Image], *, top: int = 5
    ) -> list[list[Answer]]:
        """Return the classes of each picture, the most probable first.

        Args:
            pictures: files or PIL pictures of any size.
            top: classes a picture.

        Raises:
            ConfigError: `top` below 1.
            DataError: as for `pixels`, or `pictures` is one picture, not a list.
        """
        if isinstance(pictures, (str, Path, Image.Image)):
            raise DataError(
                f"pictures must be a list, got one {type(pictures).__name__}: [picture]"
            )
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}")
        return [self.answers(self.logits(self.pixels(one)[None])[0], top) for one in pictures]

    def answers(self, logits: np.ndarray, top: int) -> list[Answer]:
        """Return the `top` most probable classes of one picture's logits (C,)."""
        odds = np.exp(logits.astype(np.float64) - logits.max())
        best = np.argsort(-odds, kind="stable")[:top]
        return [Answer(self.labels[i], float(odds[i] / odds.sum())) for i in best]


def _encoder(folder: Path, manifest: Mapping[str, Any], threads: int) -> Encoder:
    """Return the encoder of a package, in the runtime of its format."""
    kind, size = manifest["encoder"].get("format", "onnx"), manifest["picture"]["size"]
    path = folder / ENCODERS[kind]
    found = (_onnx_encoder if kind == "onnx" else litert_encoder)(path, size, threads)
    if found is None:
        raise CheckpointError(
            f"{path} does not read pictures of {size} pixels, as {folder / MANIFEST} says; export"
            " the package again"
        )
    return found


def _onnx_encoder(path: Path, size: int, threads: int) -> Encoder | None:
    """Return an encoder in onnxruntime, None where it does not read pictures of a size."""
    run = session(path, threads)
    inputs = [(one.name, one.type, list(one.shape[1:])) for one in run.get_inputs()]
    if inputs != [("pixels", "tensor(uint8)", [size, size, 3])]:
        return None
    return lambda pixels: run.run(None, {"pixels": pixels})[0]


def session(path: Path, threads: int) -> Any:
    """Return a session of onnxruntime on the CPU.

    Raises:
        ConfigError: onnxruntime is not installed.
        CheckpointError: it cannot read the file, or the file takes tensors from others.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("onnxruntime is not installed: pip install onnxruntime") from None
    if _has_external_tensors(path):
        raise CheckpointError(
            f"{path} is refused: it takes tensors from other files, which those of a package never"
            " do; get the package from a source that you trust"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # a block of memory that grows in powers of two would hold up to twice what is needed
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise CheckpointError(f"onnxruntime cannot run {path}: {error}") from error


def _has_external_tensors(path: Path) -> bool:
    """Return whether an ONNX file says that a tensor lies elsewhere: onnxruntime 1.23 would read
    any file of the machine.

    Such a tensor has an entry with the key "location": the byte before it ends the key's length.
    """
    if not path.stat().st_size:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(b"location")
        while at > 0:
            if content[at - 1] in (0, 8):  # 8, or 8 written in more bytes than it needs
                return True
            at = content.find(b"location", at + 1)
    return False


def _head(
    folder: Path, manifest: Mapping[str, Any], head: str | Path | Head, threads: int
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]:
    """Return what turns features into logits, and its labels."""
    if isinstance(head, Head):
        return _checked(head, head.source, head.labels, manifest, "the head")
    heads = manifest["heads"]
    name = str(head) or next(iter(heads))
    path = inside(folder, heads[name]["file"]) if name in heads else Path(name)
    if path.suffix not in (".onnx", ".safetensors") or not path.is_file():
        raise ConfigError(f"{unknown_name('head', name, heads)}, and no .onnx or .safetensors file")
    if path.suffix == ".onnx":
        return _onnx_head(path, manifest, threads)
    found = read_head(path)
    return _checked(found, found.source, found.labels, manifest, str(path))


def _onnx_head(
    path: Path, manifest: Mapping[str, Any], threads: int
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]:
    run = session(path, threads)

    def logits(features: np.ndarray) -> np.ndarray:
        return run.run(None, {"features": features})[0]

    try:
        facts = json.loads(run.get_modelmeta().custom_metadata_map[NOTE])
        labels, source = labels_and_source(facts)
        check_answer(logits(np.zeros((1, *run.get_inputs()[0].shape[1:]), np.float32)), labels)
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise CheckpointError(
            f"{path} is no head that can be used ({one_line(error)}); make one with loreal head"
        ) from None
    return _checked(logits, source, labels, manifest, str(path))


def _checked(
    call: Callable[[np.ndarray], np.ndarray],
    source: str,
    labels: tuple[str, ...],
    manifest: Mapping[str, Any],
    where: str,
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]:
    if source != manifest["run"]["key"]:
        raise CheckpointError(
            f"{where} belongs to another run, or to the run's other student ({source[:12]}), than"
            f" the package ({manifest['run']['key'][:12]}); make it with loreal head from the same"
            " run, and with the --row that the package was exported with"
        )
    return call, labels
