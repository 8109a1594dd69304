"""`export_run`: from the folder of a finished run to a package, checked before it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from loreal_plugin.edge.head import MODES, Head
from loreal_plugin.edge.layout import CARD, ENCODERS, HEADS, MANIFEST
from loreal_plugin.edge.package import Package
from loreal_plugin.edge.pixels import read_rgb, recipe_of, to_pixels
from loreal_plugin.errors import ConfigError, LorealError, unknown_name
from loreal_plugin.export.card import model_card
from loreal_plugin.export.check import Agreement, compare, refuse_below
from loreal_plugin.export.class_names import class_sets
from loreal_plugin.export.describe import manifest_of, unlisted_files, write_manifest
from loreal_plugin.export.encoder import export_encoder, normalisation
from loreal_plugin.export.golden import write_golden
from loreal_plugin.export.head_files import in_half, write_head, write_tensors
from loreal_plugin.export.heads import head_of
from loreal_plugin.export.litert import check_litert, export_litert
from loreal_plugin.export.need import need_tools
from loreal_plugin.export.pictures import Pictures, pictures_of, spread
from loreal_plugin.export.precision import CALIBRATED, PRECISIONS, convert
from loreal_plugin.export.text import write_text_encoder
from loreal_plugin.export.web_page import find_runtime, write_page, write_single
from loreal_plugin.files import write_bytes, write_text
from loreal_plugin.files.folders import preparing, put_in_place
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.runs.deployed_stage import training_features
from loreal_plugin.runs.trained_run import TrainedRun

CALIBRATION_PICTURES = 128


@dataclass(frozen=True)
class ExportPlan:
    """What is asked of an export.

    Attributes:
        precision: one of `PRECISIONS`.
        mode: `static` or `tangent`; empty: what the run was tested in, where it is one of them.
        classes: test sets of the run, or files with a class a line; each becomes a head. Empty:
            the classes that were trained on.
        check: pictures on which package and run are compared; 0: none.
        least: percent of them that have to get the run's class.
        text: also write the text encoder, so that the device itself takes new class names.
        web: also write a page; the folder of the npm package onnxruntime-web, empty: below the
            current folder; None: no page.
        format: of the encoder, `onnx` or `litert`.
    """

    precision: str = "fp32"
    mode: str = ""
    classes: tuple[str, ...] = ()
    check: int = 200
    least: float = 98.0
    text: bool = False
    web: str | None = None
    format: str = "onnx"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(unknown_name("precision", self.precision, PRECISIONS))
        if self.mode and self.mode not in MODES:
            raise ConfigError(unknown_name("mode of a package", self.mode, MODES))
        if self.check < 0 or not 0 <= self.least <= 100:
            raise ConfigError(
                f"check must be 0 or more and min-agreement a percentage, got {self.check} and"
                f" {self.least}"
            )
        if self.format not in ENCODERS:
            raise ConfigError(unknown_name("format", self.format, ENCODERS))
        if self.format == "litert":
            check_litert(self.precision, text=self.text, web=self.web is not None)


def export_run(
    run: str | Path,
    out: str | Path,
    plan: ExportPlan | None = None,
    *,
    pictures: Sequence[str] = (),
    host: str | None = None,
    data: str | None = None,
    weights: str | None = None,
    row: str = "",
    say: Say | None = None,
) -> Path:
    """Export a finished run as a package; return the package's folder.

    Args:
        run: folder of a finished run, as for `load_run`.
        out: the package; a package that lies there is replaced, but not with files of yours in it.
        pictures: files and folders to calibrate on and to compare with, instead of the dataset's.
        host, data, weights: where these lie, as for `load_run` and `loreal base2new`.
        row: `loreal` or `adapted`; empty: `adapted` where the run has it.
        say: gets one line of progress; None: it is printed.

    Raises:
        LorealError: no such run; a mode, precision or class set that cannot be exported; no
            pictures to compare with; a package that agrees too seldom with its run.
    """
    plan, out, say = plan or ExportPlan(), with_a_name(Path(out).expanduser()), say or say_line
    check_target(out)
    need_tools(plan.format)
    if plan.web is not None:
        find_runtime(plan.web)
    trained = TrainedRun.open(run, host=host, weights=weights, row=row)
    found = pictures_of(trained, pictures, host=host, data=data)
    check_pictures(plan, found)
    mode = plan.mode or exported_mode(trained)
    deployed = {
        name: open_deployed(trained, names, mode, found)
        for name, names in class_sets(trained, plan)
    }
    first = next(iter(deployed.values()))
    head = f"exporting {first.beta.contract.title} at {first.phi}, {first.inference}"
    for line in filter(None, (first.another_mode(mode), f"{head}, {plan.precision}")):
        say(line)
    with preparing(make_folder(out.parent) / out.name) as prepared:
        folder = prepared / "package"
        agreed = write_package(folder, deployed, trained.record, plan, found, out.name, say)
        if agreed:
            say(agreed.text())
        replace_package(folder, out, prepared, say)
    return out


def replace_package(new: Path, out: Path, aside: Path, say: Say) -> None:
    """Rename a package to its place, as `put_in_place`; say so where that is the current folder."""
    current = out.is_dir() and out.samefile(".")
    put_in_place(new, out, aside)
    if current:
        say("the current folder is a new one now: cd . to see it")


def exported_mode(trained: TrainedRun) -> str:
    """Return the mode that the run was tested in where a package can have it, else `static`."""
    tested = trained.tested_options.inference
    return tested if tested in MODES else MODES[0]


def open_deployed(
    trained: TrainedRun, names: str | Sequence[str], mode: str, found: Pictures
) -> Deployed:
    """Return the run's model of a class set in a mode.

    Tables that the run does not keep are made of the training pictures, where these are there.
    """
    engine = found.engine

    def features() -> Tensor:
        assert engine is not None, "asked for where there is one"
        parts = trained.host, engine.plan, engine.identity, engine.cfgs[trained.stage]
        return training_features(*parts, deployed)

    deployed = trained.deployed(names, "exact", features if engine else None)
    deployed.use(dataclasses.replace(trained.tested_options, inference=mode))
    return deployed


def write_package(
    folder: Path,
    deployed: Mapping[str, Deployed],
    record: Mapping[str, Any],
    plan: ExportPlan,
    found: Pictures,
    name: str,
    say: Say = say_line,
) -> Agreement | None:
    """Write a package into a new folder; return how it compares with its run.

    Args:
        deployed: the run's model by name of the class set; all have the same encoder.
        record: the run's results.json.
        found: pictures to calibrate on and to compare with.
        name: of the package, for its card.

    Raises:
        ConfigError: it agrees with the run less often than the plan asks for.
    """
    first = next(iter(deployed.values()))
    runtime = None if plan.web is None else find_runtime(plan.web)
    write_bytes(folder / ENCODERS[plan.format], _encoder(first, plan, found, say))
    heads = {title: _write_head(folder, title, one, plan) for title, one in deployed.items()}
    manifest = manifest_of(first, record, heads, plan.precision, plan.format)
    if plan.text:
        manifest["text"] = write_text_encoder(folder, list(deployed.values()), plan.precision)
    write_manifest(folder, manifest, sealed=False)
    package = Package.open(folder)
    agreed = None
    if plan.check:
        paths = spread(found.held_out, plan.check)
        agreed = compare(package, first, paths, found.where, normalisation(first.beta.cfg)[1])
        refuse_below(agreed, plan.least)
        manifest["accuracy"]["check"] = agreed.facts()
    write_golden(package)
    if runtime is not None:
        write_page(folder, manifest, runtime)
        write_single(folder, manifest)
    seal(folder, manifest, name)
    return agreed


def _encoder(deployed: Deployed, plan: ExportPlan, found: Pictures, say: Say) -> bytes:
    """Return the content of the encoder's file."""
    if plan.format == "litert":
        return export_litert(deployed, plan.precision)
    pixels = calibration(deployed, plan, found, say)
    return bytes(convert(export_encoder(deployed), plan.precision, pixels).SerializeToString())


def calibration(
    deployed: Deployed, plan: ExportPlan, found: Pictures, say: Say
) -> np.ndarray | None:
    """Return pixels (N, S, S, 3) to calibrate on, None where the precision needs none."""
    if plan.precision not in CALIBRATED:
        return None
    chosen = spread(found.training, CALIBRATION_PICTURES)
    say(f"calibrating on {len(chosen)} training pictures")
    recipe = recipe_of(deployed.phi, deployed.beta.cfg.INPUT.INTERPOLATION)
    return np.stack([to_pixels(read_rgb(path), recipe) for path in chosen])


def _write_head(
    folder: Path, title: str, deployed: Deployed, plan: ExportPlan
) -> tuple[Head, Sequence[Path]]:
    head = head_of(deployed)
    head = head if plan.precision == "fp32" else in_half(head)
    write = write_head if plan.format == "onnx" else write_tensors
    return head, write(head, folder / HEADS / title)


def seal(folder: Path, manifest: dict[str, Any], name: str) -> None:
    """Write the card and the hashes of a package whose other files are all there."""
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    write_text(folder / CARD, model_card(manifest, name, size / 1e6))
    write_manifest(folder, manifest, sealed=True)


def with_a_name(out: Path) -> Path:
    """Return a path that ends in a name: `.` and `..` become the folders that they stand for."""
    return out if out.name not in ("", "..") else out.resolve()


def check_target(out: Path) -> None:
    """Check that a package may be written to a place.

    Raises:
        ConfigError: something that is no package lies there, or is in it.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ConfigError(f"{out} is not empty and no package; choose another --out")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --out names a folder")
    if others := unlisted_files(out):
        raise ConfigError(
            f"{out} has files that are no part of the package there and would be lost"
            f" ({', '.join(others[:3])}); move them away, or choose another --out"
        )


def check_pictures(plan: ExportPlan, found: Pictures) -> None:
    """Check that there are the pictures that a plan asks for.

    Raises:
        ConfigError: there are none.
    """
    why = f"({found.where})" if found.where and not found.held_out else ""
    if plan.check and not found.held_out:
        raise ConfigError(
            f"the package is compared with the run on held-out pictures, and there are none {why};"
            " name some with --pictures or --data, or give up the comparison with --check 0"
        )
    if plan.precision in CALIBRATED and not found.training:
        raise ConfigError(
            f"--precision {plan.precision} is calibrated on training pictures, and there are none"
            f" {why}; name some with --pictures or --data, or choose int8"
        )


def make_folder(folder: Path) -> Path:
    """Return a folder; it is made where it was not there.

    Raises:
        LorealError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LorealError(f"cannot make {folder}: {error.strerror}; choose another --out") from None
    return folder
