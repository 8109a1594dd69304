"""From the name or path of CLIP weights to a checked state dict under OpenAI's keys."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from loreal_plugin.data.demo import DEMO_WEIGHTS
from loreal_plugin.errors import WeightsError, unknown_name
from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.weights.clip_layout import checked_weights, describe
from loreal_plugin.weights.convert import from_hugging_face, from_open_clip, is_hugging_face
from loreal_plugin.weights.formats import check_model_card, read_tensors
from loreal_plugin.weights.package import borrowed_clip

FILE_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
PACKED_KEY = "token_embedding.trained_ids"  # only the demonstration files have it
HOW_TO_PROVIDE = (
    "set CLIP_WEIGHTS to a local file (OpenAI .pt, Hugging Face, OpenCLIP or safetensors), or to"
    " 'demo'"
)


def load_clip_state_dict(name_or_path: str | Path) -> dict[str, Tensor]:
    """Return a CLIP ViT's weights under OpenAI's keys, in the types they are stored in.

    Args:
        name_or_path: `ViT-B/16` and the like (taken from the cache of the `clip` package, else
            downloaded), `demo`, `demo-2`, or a file.

    Raises:
        WeightsError: unknown name, no such file, no network, truncated file, or no CLIP ViT.
    """
    source = str(name_or_path)
    if source in DEMO_WEIGHTS:
        return checked_weights(_expand_demo(source), f"'{source}'")
    path = _file_of(source)
    tensors = read_tensors(path)
    if PACKED_KEY in tensors:
        return checked_weights(_expand_demo(str(path)), str(path))
    check_model_card(path)
    tensors = from_hugging_face(tensors) if is_hugging_face(tensors) else from_open_clip(tensors)
    return checked_weights(tensors, str(path))


def weights_fingerprint(name_or_path: str | Path) -> str:
    """Return the sha256 (hex) of the weights: equal for equal tensors in another file."""
    source = str(name_or_path)
    return _fingerprint(source, _stamp(source))


def clip_sizes(name_or_path: str | Path) -> dict[str, int]:
    """Return the sizes of a CLIP ViT as `describe` has them; a file is read once a version.

    Raises:
        WeightsError: as for `load_clip_state_dict`.
    """
    source = str(name_or_path)
    return dict(_sizes(source, _stamp(source)))


def _stamp(source: str) -> tuple[int, ...]:
    """Return numbers that change with the file of the weights; none for what we ship."""
    if source in DEMO_WEIGHTS:
        return ()
    stat = _file_of(source).stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=8)
def _sizes(source: str, stamp: tuple[int, ...]) -> dict[str, int]:
    return describe(load_clip_state_dict(source))


@lru_cache(maxsize=8)
def _fingerprint(source: str, stamp: tuple[int, ...]) -> str:
    """`stamp` changes with the file, so that a replaced file is read again."""
    return digest_tensors(sorted(load_clip_state_dict(source).items()), shape_first=True)


def _expand_demo(source: str) -> dict[str, Tensor]:
    """Return the full state dict of packed demonstration weights."""
    from loreal_plugin.demo.weights import expand_demo_state_dict

    try:
        return expand_demo_state_dict(source)
    except (FileNotFoundError, ValueError) as error:
        raise WeightsError(str(error)) from error


def _file_of(source: str) -> Path:
    """Return the local file of a path or of one of OpenAI's names."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not source or path.suffix in FILE_SUFFIXES or path.is_absolute() or path.is_dir():
        found = "a folder" if source and path.is_dir() else "no such file"
        raise WeightsError(
            f"CLIP weights '{source}': {found}; give the path of a file, or {HOW_TO_PROVIDE}"
        )
    with borrowed_clip() as package:
        urls, download = dict(package.clip._MODELS), package.clip._download
    if source not in urls:
        raise WeightsError(
            unknown_name("CLIP weights", source, [*vits(urls), *DEMO_WEIGHTS])
            + f"; or {HOW_TO_PROVIDE}"
        )
    if source not in vits(urls):
        raise WeightsError(
            f"'{source}' is a CLIP ResNet; ViT only: choose one of {', '.join(vits(urls))}"
        )
    return _downloaded(source, urls[source], download)


def weights_place(name_or_path: str | Path) -> Path:
    """Return the file that weights are read from; WeightsError where there is none."""
    source = str(name_or_path)
    if source in DEMO_WEIGHTS:
        from loreal_plugin.demo.weights import weights_file

        return weights_file(source)
    return _file_of(source)


def vits(names: Iterable[str]) -> list[str]:
    """Return the vision transformers among the model names of the `clip` package."""
    return [name for name in names if name.startswith("ViT-")]


def _downloaded(name: str, url: str, download: Callable[..., str]) -> Path:
    """Return the file in the cache of the `clip` package, downloaded where it is not there."""
    folder = Path.home() / ".cache" / "clip"
    wanted = folder / url.rsplit("/", 1)[-1]
    try:
        return Path(download(url, str(folder)))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(
            f"the weights of '{name}' are not in {wanted} and cannot be downloaded from {url}"
            f" ({error}); put the file there, or {HOW_TO_PROVIDE}"
        ) from error
