"""Where a host's CLIP comes from: our weights under any name, at the configured input size."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from loreal_plugin.attach.compat import ModuleProxy, ShimFacts
from loreal_plugin.errors import CacheError, ConfigError
from loreal_plugin.files import digest_file, read_checked, replacing
from loreal_plugin.files.caches import without_cache
from loreal_plugin.files.checked_json import checked_bytes
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.files.tensors import write_torch
from loreal_plugin.files.torch_files import read_torch
from loreal_plugin.options import position_resampling
from loreal_plugin.paths import cache_root
from loreal_plugin.weights import load_clip_state_dict, weights_fingerprint
from loreal_plugin.weights.positions import keep_own_pos_embed, resample_visual_

LOADER = "load_clip_to_cpu"
_MARK = "_loreal_original"
WEIGHTS, INPUT_SIZE, POSITION = "weights", "input-size", "position"
LOADER_FACTS = (
    ShimFacts(
        WEIGHTS,
        "all",
        "clip/clip.py:55, called by load_clip_to_cpu",
        "always",
        "CLIP is downloaded under a fixed name; CLIP_WEIGHTS is given instead, converted if"
        " need be",
    ),
    ShimFacts(
        INPUT_SIZE,
        "all",
        "CoOp trainers/coop.py:70, MaPLe maple.py:82, MMA mmadapter.py:56, MMRL mmrl.py:156",
        "always",
        "INPUT.SIZE other than the backbone's own is an AssertionError; the positional embedding is"
        " resampled",
    ),
    ShimFacts(
        POSITION,
        "MaPLe, MMRL",
        "torch load_state_dict of trainers/maple.py:333, mmrl.py:483",
        "always",
        "checkpoints hold the positional embedding of the size they were trained at: size mismatch"
        " at another",
    ),
)


def weights_name(cfg: Any) -> str:
    """Return the CLIP weights of a run: `CLIP_WEIGHTS`, else the backbone's name."""
    return os.environ.get("CLIP_WEIGHTS") or cfg.MODEL.BACKBONE.NAME


class ClipSource:
    """Replaces `load_clip_to_cpu` in trainer modules, and puts it back.

    The host's own loader still builds the model: only the file it reads, the positional embedding
    and the resolution it reports are ours.

    Args:
        allowed: which of the three repairs named in `LOADER_FACTS` may be made.
    """

    def __init__(self, allowed: Collection[str] = (WEIGHTS, INPUT_SIZE, POSITION)) -> None:
        self._allowed = allowed
        self._wrapped: list[tuple[ModuleType, Callable]] = []
        self._loaded: list[nn.Module] | None = None

    def wrap(self, module: ModuleType) -> None:
        """Replace the loader of one trainer module, once."""
        original = vars(module).get(LOADER)
        if original is None or hasattr(original, _MARK):
            return

        @functools.wraps(original)
        def load(cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
            size = tuple(cfg.INPUT.SIZE)
            if size[0] != size[1]:
                raise ConfigError(f"INPUT.SIZE is {size}; CLIP reads squares")
            with self._served(original, cfg):
                model = original(cfg, *args, **kwargs)
            if INPUT_SIZE in self._allowed:
                resample_visual_(model.visual, size[0], position_resampling(cfg))
            if POSITION in self._allowed:
                model.visual.register_load_state_dict_pre_hook(keep_own_pos_embed)
            if self._loaded is not None:
                self._loaded.append(model)
            return model

        setattr(load, _MARK, original)
        setattr(module, LOADER, load)
        self._wrapped.append((module, original))

    @contextmanager
    def recorded(self) -> Iterator[list[nn.Module]]:
        """Collect the CLIP models that are loaded inside the block."""
        before, self._loaded = self._loaded, []
        try:
            yield self._loaded
        finally:
            self._loaded = before

    def close(self) -> None:
        """Put every loader back; the files stay in the cache for the next process."""
        while self._wrapped:
            module, original = self._wrapped.pop()
            setattr(module, LOADER, original)

    @contextmanager
    def _served(self, loader: Callable, cfg: Any) -> Iterator[None]:
        """Make a loader that downloads (`clip._download(clip._MODELS[name])`) read our file."""
        if WEIGHTS not in self._allowed or "_download" not in loader.__code__.co_names:
            yield
            return
        names, name = loader.__globals__, cfg.MODEL.BACKBONE.NAME
        clip = names["clip"]
        path, load = _file_or_tensors(weights_name(cfg))
        models, download, torch = clip._MODELS, clip._download, names.get("torch")
        clip._MODELS = {**models, name: name}
        clip._download = lambda *_args, **_kwargs: path
        if torch is not None:
            names["torch"] = _torch_that_runs_nothing(torch, load)
        try:
            yield
        finally:
            clip._MODELS, clip._download = models, download
            if torch is not None:
                names["torch"] = torch


def _file_or_tensors(name: str) -> tuple[str, Callable[[str], Any]]:
    """Return the path that a host's loader reads weights from, and what reads them.

    Where the cache cannot be written, there is no file: the reader has the tensors itself.
    """
    try:
        return str(plain_file(name)), lambda path: read_torch(Path(path))
    except CacheError as error:
        without_cache(cache_root(), error)
        return name, lambda _path: load_clip_state_dict(name)


def _torch_that_runs_nothing(torch: ModuleType, load: Callable[[str], Any]) -> ModuleType:
    """Return torch for a host's loader: it tries `torch.jit.load`, then `torch.load`."""

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("TorchScript is not run; the file is a plain state dict")

    jit = ModuleProxy(torch.jit, load=refuse)
    return ModuleProxy(torch, jit=jit, load=lambda path, *_args, **_kwargs: load(path))


def plain_file(name: str) -> Path:
    """Return a plain state-dict file of the weights, which every host can read.

    It lies in the cache under the fingerprint of the weights, so that all processes share one file.

    Raises:
        WeightsError: the weights are missing, broken or not of a CLIP ViT.
        CacheError: the cache cannot be written.
    """
    path = cache_root() / "clip" / f"{weights_fingerprint(name)}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with shared_lock(path.with_suffix(".lock")):
            note = path.with_suffix(".json")
            known = read_checked(note)[0].get("sha256")
            if known is None or not path.is_file() or digest_file(path) != known:
                write_torch(path, load_clip_state_dict(name))
                with replacing(note) as part:
                    part.write_bytes(checked_bytes({"sha256": digest_file(path)}))
    except OSError as error:
        raise CacheError(
            f"the CLIP weights for the host cannot be written to {path} ({error}); free some space"
            " or set LOREAL_CACHE to another folder"
        ) from error
    return path


@contextmanager
def using_weights(name: str) -> Iterator[None]:
    """Let hosts load the CLIP weights `name`: they read the variable CLIP_WEIGHTS before their
    configuration.
    """
    before = os.environ.get("CLIP_WEIGHTS")
    os.environ["CLIP_WEIGHTS"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["CLIP_WEIGHTS"]
        else:
            os.environ["CLIP_WEIGHTS"] = before
