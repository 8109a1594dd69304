"""Test pictures are embedded once for a frozen image encoder, and read again by what shares it.

The host trained at phi and LOREAL on top of it use the same encoder on the same pictures. So do all
runs that change stage 3 alone. What the encoder said is stored as it is, batch by batch: a test on
stored embeddings gives the same bits as one on pictures. Only the embedded host is served. The test
loop of a stranger may read pictures elsewhere than in its image encoder.

Shapes: N pictures, B of a batch, F features a picture, D_v embedding width.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from loreal_plugin.config import flatten, method_settings
from loreal_plugin.contract.base import bare_model
from loreal_plugin.errors import LorealError
from loreal_plugin.files import read_checked, write_checked
from loreal_plugin.files.caches import limit_mb, prune, without_cache
from loreal_plugin.options import changed_positions, position_resampling
from loreal_plugin.paths import cache_root, embedded_host
from loreal_plugin.runs.keys import METHOD_VERSION
from loreal_plugin.runs.loaders import LabelLoader, TimedLoader, batch_slices
from loreal_plugin.students.embedding_cache import EmbeddingCache, cache_key
from loreal_plugin.students.learned import fingerprint
from loreal_plugin.students.student import Student

VARIABLE = "LOREAL_TEST_CACHE"
DEFAULT_MB = 1024


@dataclass(frozen=True)
class EmbeddingSource:
    """Where a test's embeddings were from: `reused` from another test, which took `seconds` to read
    and encode them.
    """

    reused: bool
    seconds: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {
            "kept_embeddings": self.reused,
            "kept_seconds": self.seconds if self.reused else None,
        }


def embedding_facts(found: list[EmbeddingSource]) -> dict[str, Any]:
    """Return what a record says of the embeddings of its last test."""
    return (found[-1] if found else EmbeddingSource(reused=False)).facts()


class _Unfit(Exception):
    """The encoder was not called once a batch, so nothing can be stored."""


def cache_limit_mb(env: Mapping[str, str] = os.environ) -> int:
    """Return how many MB stored embeddings may take; 0 stores and reads none.

    Raises:
        ConfigError: the variable is no whole number of at least 0.
    """
    return limit_mb(VARIABLE, DEFAULT_MB, env)


def folder() -> Path:
    """Return where embeddings of test pictures are stored."""
    return cache_root() / "test_embeddings"


def reuse_test_embeddings(
    trainer: Any, host: Any, weights: str, pictures: Callable[[], str]
) -> list[EmbeddingSource]:
    """Let `trainer.test` on the test split read stored embeddings, or store them.

    Returns:
        A list that will say for each test where its embeddings were from.

    Args:
        trainer: the host's or ours, with its model.
        host: an `AttachedHost`.
        weights: fingerprint of the CLIP weights.
        pictures: returns the hash of the test pictures, in order.
    """
    limit = cache_limit_mb()
    sources: list[EmbeddingSource] = []
    served = host.path == embedded_host() and isinstance(
        trainer.test_loader.sampler, SequentialSampler
    )
    if not limit or not served:
        return sources
    original = trainer.test

    def test(split: str | None = None) -> float:
        if split not in (None, "test") or trainer.cfg.TEST.SPLIT != "test":
            return original(split)
        facts = _facts(trainer, host, weights, pictures())
        cached = _CachedTest(trainer, lambda: original(split))
        accuracy = cached.test(facts, limit)
        sources.append(cached.source)
        return accuracy

    trainer.test = test
    return sources


class _CachedTest:
    """One test: on pictures, with the encoder's outputs recorded, or on recorded outputs."""

    def __init__(self, trainer: Any, run: Callable[[], float]) -> None:
        self.trainer, self.run = trainer, run
        self.encoder = encoder_of(trainer)
        self.accuracy: float | None = None
        self.source = EmbeddingSource(reused=False)
        self.seconds = 0.0

    def test(self, facts: Mapping[str, Any], limit: int) -> float:
        """Return the accuracy; embeddings are read where there are any of these facts."""
        where = folder()
        try:
            features = EmbeddingCache(where).get_or_build(facts, self._on_pictures)
        except _Unfit:
            return self._measured()
        cost = where / f"{cache_key(facts)}.seconds"
        if self.accuracy is None:
            self.source = EmbeddingSource(True, read_checked(cost)[0].get("seconds"))
            self._on_embeddings(features[:, 0])
        else:
            try:
                write_checked(cost, {"seconds": round(self.seconds, 3)})
                prune(where, limit)
            except (OSError, LorealError) as error:
                without_cache(where, error)
        return self._measured()

    def _measured(self) -> float:
        assert self.accuracy is not None, "the test has run, on pictures or on embeddings"
        return self.accuracy

    def _add(self, seconds: float) -> None:
        """Count seconds of reading and encoding."""
        self.seconds += seconds

    def _on_pictures(self) -> Tensor:
        """Test on pictures; return the features (N, 1, F, D_v)."""
        recorded: list[Tensor] = []

        def recording(forward: Callable[..., Any]) -> Callable[..., Any]:
            def encode(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                found = forward(*args, **kwargs)
                # some encoders return several features of a picture, each (B, D_v)
                parts = (found,) if isinstance(found, Tensor) else tuple(found)
                recorded.append(torch.stack([part.detach() for part in parts], dim=1).cpu())
                self.seconds += time.perf_counter() - start
                return found

            return encode

        loader = self.trainer.test_loader
        with _replaced(self.encoder, recording), self._test_loader(TimedLoader(loader, self._add)):
            self.accuracy = self.run()
        sizes = [
            batch.stop - batch.start
            for batch in batch_slices(len(loader.dataset), loader.batch_size)
        ]
        if [len(part) for part in recorded] != sizes or any(part.dim() != 3 for part in recorded):
            raise _Unfit
        return torch.cat(recorded).unsqueeze(1)

    def _on_embeddings(self, features: Tensor) -> None:
        """Test on stored features (N, F, D_v)."""
        loader = LabelLoader(self.trainer.test_loader)
        device, single = self.trainer.device, features.shape[1] == 1

        def read(*_: Any, **__: Any) -> Any:
            # contiguous as the encoder's output was: another layout can change the last bits
            parts = tuple(
                part.clone(memory_format=torch.contiguous_format).to(device)
                for part in features[loader.current].unbind(1)
            )
            return parts[0] if single else parts

        with _replaced(self.encoder, lambda _: read), self._test_loader(loader):
            self.accuracy = self.run()

    @contextmanager
    def _test_loader(self, loader: Any) -> Iterator[None]:
        """Let the trainer test on another loader."""
        before, self.trainer.test_loader = self.trainer.test_loader, loader
        try:
            yield
        finally:
            self.trainer.test_loader = before


def _student(trainer: Any) -> Student | None:
    """Return the student that tests read, None in a host's own trainer."""
    return getattr(trainer.model, "beta", None)


def encoder_of(trainer: Any) -> nn.Module:
    """Return the image encoder that a trainer's tests use."""
    student = _student(trainer)
    return (student.model if student else bare_model(trainer)).image_encoder


def _facts(trainer: Any, host: Any, weights: str, pictures: str) -> dict[str, Any]:
    """Return everything that can change a test picture's embedding."""
    student, cfg = _student(trainer), trainer.cfg
    model = student.model if student else bare_model(trainer)
    learned = student.fingerprint() if student else fingerprint(host.contract.learned(model))
    size = student.input_size if student else cfg.INPUT.SIZE[0]
    return {
        "what": "test pictures",
        "method_version": METHOD_VERSION,
        "method": host.contract.method,
        "weights": weights,
        "learned": learned,
        # how the learned tensors are used: adapter scale, layers with representation tokens,
        # precision
        "host_settings": method_settings(cfg, host.contract.counted_node),
        "pictures": pictures,
        "input": {key: value for key, value in flatten(cfg.INPUT).items() if key != "SIZE"},
        "size": int(size),
        "batch": trainer.test_loader.batch_size,
        "dtype": str(model.dtype),
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        **changed_positions(position_resampling(cfg)),
    }


@contextmanager
def _replaced(
    module: nn.Module, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Let `module` answer by `make(its forward)`."""
    module.forward = make(module.forward)
    try:
        yield
    finally:
        del module.forward
