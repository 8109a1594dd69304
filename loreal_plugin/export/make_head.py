"""`make_head`: a head of other classes for a package that is out already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loreal_plugin.edge.head import MODES, Head, join, read_head
from loreal_plugin.edge.layout import MANIFEST, check_files, inside, read_manifest
from loreal_plugin.edge.text import head_of_names
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.export.class_names import class_set, read_names
from loreal_plugin.export.export_run import exported_mode, open_deployed
from loreal_plugin.export.head_files import in_half, write_head
from loreal_plugin.export.heads import head_of
from loreal_plugin.export.need import need
from loreal_plugin.export.pictures import Pictures, pictures_of
from loreal_plugin.runs.trained_run import TrainedRun

_HEAD_FILES = (".onnx", ".safetensors")


def make_head(
    source: str | Path,
    classes: Sequence[str],
    out: str | Path,
    *,
    mode: str = "",
    half: bool = False,
    host: str | None = None,
    data: str | None = None,
    weights: str | None = None,
    row: str = "",
) -> list[Path]:
    """Write a head of class sets, joined where there are several; return its two files.

    Args:
        source: a finished run, or a package: its heads, or new names where it has text.onnx.
        classes: class sets of the source by name, files with a class a line, or heads' files.
        out: the head's file; the other one lies beside it.
        mode: `static` or `tangent`; empty: as for an export. A package's text encoder gives
            `static` heads; one that is there already stays in its mode.
        half: keep the large tensors in half precision.
        host, data, weights: where these lie, as for `load_run`.
        row: of a run, `loreal` or `adapted`, as the package was exported; empty: `adapted` where
            the run has it.

    Raises:
        LorealError: no such run, package or class set; heads that cannot be joined, or that are
            there in another mode.
    """
    need("onnx")
    if mode and mode not in MODES:
        raise ConfigError(unknown_name("mode of a head", mode, MODES))
    out = Path(out).expanduser()
    if out.suffix not in _HEAD_FILES:
        raise ConfigError(f"--out '{out}' must end in .onnx or .safetensors; both are written")
    folder = Path(source).expanduser()
    if (folder / MANIFEST).is_file():
        if row:
            raise ConfigError(f"{folder} is a package, which has one student; leave --row out")
        parts = [_stored(word, mode) or _of_package(folder, word, mode) for word in classes]
    else:
        trained = TrainedRun.open(folder, host=host, weights=weights, row=row)
        found = pictures_of(trained, host=host, data=data)
        tested = exported_mode(trained)
        parts = [
            _stored(word, mode) or _of_run(trained, word, mode or tested, found) for word in classes
        ]
    head = join(parts)
    return write_head(in_half(head) if half else head, out.with_suffix(""))


def _of_run(trained: TrainedRun, word: str, mode: str, found: Pictures) -> Head:
    return head_of(open_deployed(trained, class_set(trained, word)[1], mode, found))


def _of_package(folder: Path, word: str, mode: str) -> Head:
    manifest = read_manifest(folder)
    if word in manifest["heads"]:
        check_files(folder, manifest)
        return _in_mode(read_head(inside(folder, manifest["heads"][word]["tensors"])), word, mode)
    if not Path(word).is_file():
        known = manifest["heads"]
        raise ConfigError(f"{unknown_name('head of the package', word, known)}, and no file")
    if mode == "tangent":
        raise ConfigError(
            "a package's text encoder gives static heads; name the run for a tangent head"
        )
    return head_of_names(folder, read_names(Path(word)))


def _in_mode(head: Head, word: str, mode: str) -> Head:
    """Return a head that is there already; ConfigError where another mode is asked for."""
    if mode not in ("", head.mode):
        raise ConfigError(
            f"head '{word}' is in the mode {head.mode} and cannot become {mode}: name the run, and"
            " a test set or a file of names, or leave --mode out"
        )
    return head


def _stored(word: str, mode: str) -> Head | None:
    """Return the head in a head's file, None where the word is no such file."""
    path = Path(word)
    if path.suffix not in _HEAD_FILES:
        return None
    tensors = path.with_suffix(".safetensors")
    if not tensors.is_file():
        raise ConfigError(f"{tensors} was looked for, the tensors of head {path}, and not found")
    return _in_mode(read_head(tensors), word, mode)
