"""What else costs time: start-up, decoding, resizing, loader workers, checkpoints, cache hits.

    python benchmarks/other_costs.py --out results/benchmarks/other.json

Writes rows of `{"what", "found"}` for results/BENCHMARKS.md (`loreal bench --report`). Times are
processor time of one thread, medians, so that other programs on the machine hardly count; wall time
only where processes work together.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.models import CellModels
from loreal_plugin.files import write_text
from loreal_plugin.files.tensors import pack_optimizer
from loreal_plugin.method.meta_nets import MetaNets
from loreal_plugin.paths import embedded_host
from loreal_plugin.pictures import read_picture
from loreal_plugin.students.embedding_cache import EmbeddingCache, pictures_digest
from loreal_plugin.students.views import (
    PairedViews,
    View,
    ViewRecipe,
    draw_view,
    render_view,
    view_generator,
)
from loreal_plugin.trainer.checkpoint import write_checkpoint

NATIVE, PHI = 224, 96
RECIPE = ViewRecipe((0.08, 1.0), True, "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
Row = dict[str, str]


def cpu_ms(call: Callable[[], object], repeats: int = 15) -> float:
    """Return the median milliseconds of processor time that a call takes."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a picture with the smooth and the busy parts that a photo has."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.BICUBIC), dtype=np.int16)
    busy = (
        rng.integers(-20, 21, (height, width, 3)) * (np.arange(width) > width // 2)[None, :, None]
    )
    return Image.fromarray(np.clip(smooth + busy, 0, 255).astype(np.uint8))


def start_up() -> Iterator[Row]:
    """Yield the processor time of commands that only talk, and of importing torch."""
    commands = {
        "`loreal --help`": ["-m", "loreal_plugin", "--help"],
        "`loreal base2new --help`": ["-m", "loreal_plugin", "base2new", "--help"],
        "wrong input refused (`loreal base2new maple low`)": [
            "-m",
            "loreal_plugin",
            "base2new",
            "maple",
            "low",
        ],
        "`import torch` alone": ["-c", "import torch"],
        "`import torch, torchvision`": ["-c", "import torch, torchvision"],
    }
    for what, words in commands.items():
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *words], capture_output=True, cwd=Path(__file__).parents[1]
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        yield {"what": f"start-up, {what}", "found": f"{statistics.median(times):.2f} s"}


def decoding(folder: Path) -> Iterator[Row]:
    """Yield what decoding once saves, and what draft mode would change."""
    path = folder / "photo.jpg"
    photo(500, 375).save(path, quality=90)
    image = read_picture(str(path))
    view = draw_view(*image.size, RECIPE, view_generator(1, 0, 0))
    decode = cpu_ms(lambda: read_picture(str(path)))
    high, low = (cpu_ms(lambda s=s: render_view(image, view, s, RECIPE)) for s in (NATIVE, PHI))
    both = decode + high + low
    yield {
        "what": "500 x 375 JPEG: decode; crop, resize and normalise to 224; the same to 96",
        "found": f"{decode:.2f} ms; {high:.2f} ms; {low:.2f} ms",
    }
    yield {
        "what": "both views of a picture, decoded once (what is done) against decoded twice",
        "found": f"{both:.2f} ms against {both + decode:.2f} ms",
    }
    for width, height in ((500, 375), (2000, 1500)):
        yield draft(folder, width, height)


def draft(folder: Path, width: int, height: int) -> Row:
    """Return how draft mode changes the whole picture at phi, and what it saves."""
    path = folder / f"draft-{width}.jpg"
    photo(width, height).save(path, quality=90)

    def drafted() -> Image.Image:
        with Image.open(path) as image:
            image.draft("RGB", (PHI, PHI))
            return image.convert("RGB")

    plain, fast = read_picture(str(path)), drafted()
    bare = ViewRecipe(None, False, "bicubic", None, None)
    seen = [
        255 * render_view(p, View(0, 0, p.height, p.width, False), PHI, bare) for p in (plain, fast)
    ]
    apart = (seen[0] - seen[1]).abs()
    times = cpu_ms(lambda: read_picture(str(path))), cpu_ms(drafted)
    return {
        "what": (
            f"draft mode, {width} x {height} JPEG decoded at {fast.width} x {fast.height}, then"
            f" resized to {PHI}"
        ),
        "found": (
            f"pixels differ by up to {apart.max():.0f}, {apart.mean():.2f} on average, of 255; "
            f"decoding {times[0]:.2f} ms becomes {times[1]:.2f} ms"
        ),
    }


def loader_workers(folder: Path, count: int = 96) -> Iterator[Row]:
    """Yield pictures a second of the paired loader by its number of workers (wall time)."""
    items = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        photo(500, 375, index).save(path, quality=90)
        items.append(SimpleNamespace(impath=str(path), label=0))
    found = []
    for workers in (0, 1, 2):
        loader = DataLoader(
            PairedViews(items, (NATIVE, PHI), RECIPE, 1), batch_size=4, num_workers=workers
        )
        start = time.perf_counter()
        for _ in loader:
            pass
        found.append(f"{workers}: {count / (time.perf_counter() - start):.0f}")
    yield {
        "what": (
            f"paired loader, {count} JPEGs of 500 x 375, pictures a second by workers, torch's"
            " start included"
        ),
        "found": "; ".join(found),
    }


def checkpoints(folder: Path) -> Iterator[Row]:
    """Yield the size of a stage-3 checkpoint at ViT-B/16 widths."""
    nets = MetaNets(5, 512, 32, 512, True)
    optimizer = torch.optim.SGD(nets.parameters(), lr=0.1, momentum=0.9)
    nets(torch.randn(2, 512)).sum().backward()
    optimizer.step()
    tensors, plain = pack_optimizer(optimizer)
    path = write_checkpoint(folder, "one", tensors | nets.state_dict(), {"optimizer": plain})
    bare = sum(v.numel() * v.element_size() for v in nets.state_dict().values())
    yield {
        "what": "stage-3 checkpoint, K=5, D_s=32: meta-nets and their momentum",
        "found": f"{path.stat().st_size / 1e6:.2f} MB, of which meta-nets {bare / 1e6:.2f} MB",
    }


def host_checkpoints(folder: Path) -> Iterator[Row]:
    """Yield the checkpoint sizes of the methods whose public checkpoints hold the whole model."""
    for method in ("maple", "mmrl"):
        models = CellModels(Cell("train", method, NATIVE, 100, 1, ()), embedded_host())
        trainer = models.trainer
        trainer.forward_backward({"img": models.random_pictures(NATIVE), "label": models.labels})
        with redirect_stdout(io.StringIO()):
            trainer.save_model(0, str(folder / method))
        (path,) = (folder / method).glob("*/model.pth.tar-1")
        whole = sum(v.numel() * v.element_size() for v in trainer.model.state_dict().values())
        yield {
            "what": (
                f"embedded host's checkpoint, {method}, ViT-B/16: what was learned and the"
                " optimiser's state"
            ),
            "found": f"{path.stat().st_size / 1e6:.1f} MB; the whole model is {whole / 1e6:.0f} MB",
        }


def cache_lookup(folder: Path, count: int = 400) -> Iterator[Row]:
    """Yield the cost of finding an entry of the embedding cache: hashing pictures, reading it."""
    content = io.BytesIO()
    photo(500, 375).save(content, "JPEG", quality=90)
    items = []
    for index in range(count):
        path = folder / f"hash-{index}.jpg"
        path.write_bytes(content.getvalue() + index.to_bytes(4, "little"))
        items.append(SimpleNamespace(impath=str(path)))
    hashed = cpu_ms(lambda: pictures_digest(items), 3) / count
    yield {
        "what": f"cache key: hashing the pictures ({len(content.getvalue()) / 1e3:.0f} kB each)",
        "found": f"{hashed:.2f} ms a picture, {16 * hashed:.1f} s for 16,000",
    }
    cache, made = EmbeddingCache(folder / "cache"), torch.randn(1600, 4, 1, 512)
    cache.get_or_build({"n": 1}, lambda: made)
    read = cpu_ms(lambda: cache.get_or_build({"n": 1}, lambda: made), 5)
    yield {
        "what": "cache hit: 1600 pictures x 4 views x 512, read and checked",
        "found": f"{read:.0f} ms",
    }


def main() -> None:
    """Measure everything and write or print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON file to write (default: print only)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (
            start_up(),
            decoding(folder),
            loader_workers(folder),
            checkpoints(folder),
            cache_lookup(folder),
            host_checkpoints(folder),
        ):
            for row in part:
                print(f"{row['what']}: {row['found']}", flush=True)
                rows.append(row)
    if args.out:
        write_text(args.out, json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
