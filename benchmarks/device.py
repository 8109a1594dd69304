"""What a package costs and what its precision changes: the tables of docs/DEVICE.md.

    python benchmarks/device.py sizes [--method maple]   ViT-B/16 sizes, random: time, memory
    python benchmarks/device.py demo RUN [RUN ...]       trained runs on the demo: HM, agreement, of
                                                         the student that `export` takes
    python benchmarks/device.py page                     write the tables again

Both keep their numbers in results/DEVICE.json. Times are processor time of one thread, one picture
at a time, medians of turns in one process; memory is the peak of a process that opens a package and
runs its golden pictures. Needs the extra [export].
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loreal_plugin.attach import detach_host  # noqa: E402  (needs the path above)
from loreal_plugin.attach.clip_source import using_weights  # noqa: E402
from loreal_plugin.bench.cells import Cell  # noqa: E402
from loreal_plugin.bench.measure_cell import processor  # noqa: E402
from loreal_plugin.bench.models import CellModels  # noqa: E402
from loreal_plugin.bench.predictions import CellModes  # noqa: E402
from loreal_plugin.edge import Package  # noqa: E402
from loreal_plugin.export import export_run  # noqa: E402
from loreal_plugin.export.encoder import export_encoder  # noqa: E402
from loreal_plugin.export.golden import drawn_pictures  # noqa: E402
from loreal_plugin.export.pictures import Pictures, pictures_of  # noqa: E402
from loreal_plugin.export.precision import PRECISIONS  # noqa: E402
from loreal_plugin.files import read_json, replace_between, write_json, write_text  # noqa: E402
from loreal_plugin.inference.deployed import Deployed  # noqa: E402
from loreal_plugin.paths import embedded_host  # noqa: E402
from loreal_plugin.results.record import harmonic_mean  # noqa: E402
from loreal_plugin.runs.logs import quietly  # noqa: E402
from loreal_plugin.runs.timing import interleave  # noqa: E402
from loreal_plugin.runs.trained_run import TrainedRun  # noqa: E402
from loreal_plugin.trainer.data import resized  # noqa: E402

KEPT, PAGE = ROOT / "results" / "DEVICE.json", ROOT / "docs" / "DEVICE.md"
PHI, NATIVE, N_CLASSES = 96, 224, 100
STUDENTS = {"loreal": "+ LOREAL", "adapted": "+ adapted image side"}
RECORD = {
    "key": "0" * 64,
    "dataset": "none",
    "seed": 1,
    "shots": 0,
    "host": {"name": "embedded"},
    "weights": {"name": "random", "sha256": "0" * 64},
}
Say = Callable[[str], None]


# ---- time and memory at real sizes ---------------------------------------------------------------


def random_model(models: CellModels) -> Deployed:
    """Return a model of a cell in the mode `static`, with random weights."""
    model = models.model("class_first", "static")
    modes = CellModes(model, Path(), {}, lambda: models.features["beta"], models)
    model.mode = modes.mode(model.options)
    build = importlib.import_module("dassl.data.transforms").build_transform
    transform = quietly(lambda: build(resized(model.beta.cfg, models.cell.phi), is_train=False))
    return Deployed(model, modes, transform, {"key": RECORD["key"]})


def packages(deployed: Mapping[str, Deployed], record: Any, found: Pictures, root: Path) -> dict:
    """Return a package a precision; the encoder is exported once."""
    encoder = export_encoder(next(iter(deployed.values())))
    content, onnx = encoder.SerializeToString(), importlib.import_module("onnx")
    del encoder
    export_run.export_encoder = lambda _: onnx.load_from_string(content)
    made = {}
    for precision in PRECISIONS:
        plan = export_run.ExportPlan(precision, "static", check=0)
        folder = root / precision
        export_run.write_package(folder, deployed, record, plan, found, precision)
        made[precision] = folder
        print(f"  {precision}: {megabytes(folder):.1f} MB", flush=True)
    return made


def megabytes(folder: Path) -> float:
    """Return the size of a package's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def peak_mib(folder: Path) -> float:
    """Return the peak memory of a process that runs a package's golden pictures."""
    command = [sys.executable, "-m", "loreal_plugin.edge", str(folder), "--selftest"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return float(re.search(r"peak memory (\d+) MiB", done.stdout)[1])


def measure_sizes(method: str, rounds: int) -> dict[str, Any]:
    """Return time, size and memory of each precision, and the time of PyTorch."""
    torch.set_num_threads(1)
    models = CellModels(Cell("predict", method, PHI, N_CLASSES, 1, ()), embedded_host())
    deployed = random_model(models)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        files = [str(root / f"{i}.png") for i in range(8)]
        for path, one in zip(files, drawn_pictures(), strict=True):
            Image.fromarray(one).save(path)
        made = packages({"random": deployed}, RECORD, Pictures(tuple(files)), root)
        opened = {name: Package.open(folder) for name, folder in made.items()}
        pixels = next(iter(opened.values())).pixels(files[0])[None]
        calls = torch_calls(models, deployed)
        for name, package in opened.items():
            calls[name] = lambda package=package: package.logits(pixels)
        samples = interleave(calls, rounds=rounds, budget_s=900, device=torch.device("cpu"))
        times = {name: statistics.median(of["cpu"]) for name, of in samples.items()}
        eager = times["PyTorch"]
        rows = {
            name: {
                "mb": megabytes(folder),
                "relative": times[name] / eager,
                "peak_mib": peak_mib(folder),
            }
            for name, folder in made.items()
        }
    native = times[f"PyTorch, host alone at {NATIVE}"]
    return {
        "rows": rows,
        "eager_ms": 1000 * eager,
        "native": native / eager,
        "machine": processor(),
        "rounds": rounds,
    }


def torch_calls(models: CellModels, deployed: Deployed) -> dict[str, Callable[[], object]]:
    """Return a prediction of our model in PyTorch, and of the host alone at the native size."""
    low, high = models.random_pictures(PHI), models.random_pictures(NATIVE)
    alpha, text = models.alpha, deployed.mode.static_text()

    @torch.no_grad()
    def native() -> object:
        return alpha.logits(alpha.encode_image(high), text, True)

    return {
        "PyTorch": lambda: deployed.logits(low),
        f"PyTorch, host alone at {NATIVE}": native,
    }


# ---- accuracy on the demo ------------------------------------------------------------------------


def measure_run(run: str) -> dict[str, Any]:
    """Return HM and agreement of each precision of a trained run, in its test pictures."""
    trained = TrainedRun.open(run)
    found = pictures_of(trained)
    with tempfile.TemporaryDirectory() as temporary, using_weights(trained.weights):
        names = {h: list(found.engine.identity.dataset(h).classnames) for h in ("base", "new")}
        deployed = {
            half: export_run.open_deployed(trained, of_half, "static", found)
            for half, of_half in names.items()
        }
        made = packages(deployed, trained.record, found, Path(temporary))
        data = {half: test_pixels(found, half, made["fp32"]) for half in deployed}
        rows, first = {}, {}
        for precision, folder in made.items():
            scores, same = {}, []
            for half, (pixels, labels) in data.items():
                answers = Package.open(folder, head=half).logits(pixels).argmax(-1)
                first.setdefault(half, answers)
                scores[half] = 100 * float((answers == labels).mean())
                same += (answers == first[half]).tolist()
            hm = harmonic_mean(scores["base"], scores["new"])
            agreement = 100 * statistics.fmean(same)
            rows[precision] = {"hm": hm, "agreement": agreement, "mb": megabytes(folder)}
            print(f"  {precision}: HM {hm:.2f}, {agreement:.1f} % as fp32", flush=True)
    record = trained.record
    student = "adapted" if trained.deployment.adaptation else "loreal"
    told = {name: record[name] for name in ("method", "seed", "phi")}
    return {**told, "student": student, "rows": rows}


def test_pixels(found: Pictures, half: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, S, S, 3) and labels (N,) of the test pictures of half of the classes."""
    package, dataset = Package.open(folder, head=half), found.engine.identity.dataset(half)
    names = [name.replace("_", " ") for name in dataset.classnames]
    assert tuple(names) == package.labels
    pixels = np.stack([package.pixels(item.impath) for item in dataset.test])
    return pixels, np.array([item.label for item in dataset.test])


# ---- tables --------------------------------------------------------------------------------------


def page(kept: Mapping[str, Any]) -> str:
    """Return both tables as Markdown."""
    parts = []
    for key, facts in kept.get("sizes", {}).items():
        method = key.split()[0]
        heads = ["precision", "MB", "time / PyTorch at 96", "time / PyTorch at 224", "peak MiB"]
        body = [
            [name, row["mb"], row["relative"], row["relative"] / facts["native"], row["peak_mib"]]
            for name, row in facts["rows"].items()
        ]
        table = tabulate(body, heads, "github", floatfmt=("", ".1f", ".2f", ".3f", ".0f"))
        parts.append(
            f"{method}, ViT-B/16 sizes with random weights, {N_CLASSES} classes, `static`, at"
            f" {PHI}; one thread, one picture; PyTorch took {facts['eager_ms']:.0f} ms at {PHI}"
            f" ({facts['machine']}, {facts['rounds']} rounds):\n\n{table}"
        )
    runs = kept.get("demo", {})
    if runs:
        names = list(PRECISIONS)
        body = []
        for facts in runs.values():
            cells = [f"{facts['rows'][n]['hm']:.2f}" for n in names]
            cells += [f"{facts['rows'][n]['agreement']:.1f}" for n in names[1:]]
            body.append([facts["method"], STUDENTS[facts["student"]], facts["seed"], *cells])
        heads = ["method", "student", "seed", *(f"HM {n}" for n in names)]
        heads += [f"same {n}" for n in names[1:]]
        table = tabulate(body, heads, "github", disable_numparse=True)
        parts.append(
            f"Trained on the demo, at {PHI}, `static`; HM over 3,000 test pictures of base and"
            " 3,000 of new classes, and how many of them get the class of fp32, in percent:"
            f"\n\n{table}"
        )
    return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    sizes = kinds.add_parser("sizes")
    sizes.add_argument("--method", default="maple")
    sizes.add_argument("--rounds", type=int, default=15)
    kinds.add_parser("demo").add_argument("runs", nargs="+")
    kinds.add_parser("page")
    args = parser.parse_args(argv)
    kept = read_json(KEPT) or {}
    if args.kind == "sizes":
        facts = measure_sizes(args.method, args.rounds)
        kept.setdefault("sizes", {})[f"{args.method} on {facts['machine']}"] = facts
    for run in getattr(args, "runs", ()):
        found = measure_run(run)
        kept.setdefault("demo", {})["{method} {student} {seed}".format(**found)] = found
        write_json(KEPT, json.loads(json.dumps(kept)))
        detach_host()  # the next run may be of another method
    write_json(KEPT, json.loads(json.dumps(kept)))
    text = replace_between(PAGE.read_text(encoding="utf-8"), "device", page(kept))
    write_text(PAGE, text)
    print(page(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
