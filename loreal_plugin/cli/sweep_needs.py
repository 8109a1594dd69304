"""What a plan of public datasets needs before it can run: data, weights, disk, GPU hours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loreal_plugin.download.table import Dataset, datasets
from loreal_plugin.plain_output import counted
from loreal_plugin.results.protocols import PROTOCOLS

if TYPE_CHECKING:
    from loreal_plugin.bench.lookup import Results
    from loreal_plugin.results.reader import Evidence
    from loreal_plugin.sweep.planned_runs import Run

ROOM = 2.1  # an archive and what is in it, as `loreal data get` asks for
MEASURE = "loreal bench --device cuda --out"


def needs(runs: Sequence[Run], evidence: Evidence | None, out: Path, bench: Path) -> Iterator[str]:
    """Yield lines on what runs on public datasets need; nothing for runs on others.

    Args:
        evidence: what is below `out` already, None for nothing.
        bench: a record of `loreal bench`; it need not be there.
    """
    names = wanted_datasets(runs)
    if not names:
        return
    runs = [run for run in runs if run.spec.dataset in datasets()]
    yield from ["", *data_lines(names, runs[0].spec.data)]
    yield from ["", *weights_lines(runs), *disk_lines(runs, evidence, out)]
    yield from ["", *hour_lines(runs, evidence, bench)]


def wanted_datasets(runs: Sequence[Run]) -> list[str]:
    """Return the public datasets that runs train or test on, in the order of the table."""
    found = set()
    for run in runs:
        known = PROTOCOLS[run.table].known_targets.get(run.spec.dataset, ())
        found |= {run.spec.dataset, *(run.targets or known)}
    return [name for name in datasets() if name in found]


def data_lines(names: Sequence[str], data: Path) -> list[str]:
    """Return which datasets are below DATA, which are not, and what brings those."""
    from loreal_plugin.download.arrange import is_kind
    from loreal_plugin.download.inspect import inspecting
    from loreal_plugin.download.transfer import published

    there, missing = [], []
    with inspecting(data) as inspector:
        for name in names:
            row, layout = datasets()[name], inspector.layout(name)
            folder = data / layout.dataset_dir
            gives = [path for part in row.parts for path in part.gives]
            # a split file may be drawn: without it a dataset is no less usable
            lacks = [
                path
                for path in gives
                if not is_kind(folder / path, path) and path != layout.split_file
            ]
            split = folder / layout.split_file if layout.split_file else None
            if lacks:
                missing.append((row, lacks))
            elif split is None:
                there.append(name)
            elif not split.is_file():
                there.append(f"{name} (no split file: one would be drawn)")
            else:
                which = "published" if published(row, split) else "not the published"
                there.append(f"{name} ({which} split)")
    head = f"data below {data}: {len(there)} of {counted(len(names), 'dataset')} there"
    lines = [f"{head}; loreal data check NAME counts them"] if there else [head]
    lines += [f"  there: {', '.join(there)}"] if there else []
    return [*lines, *_to_get([row for row, _ in missing], data)]


def _to_get(missing: Sequence[Dataset], data: Path) -> list[str]:
    """Return what is to be transferred, a line a dataset, and the sum."""
    if not missing:
        return []
    known = [row.size for row in missing if row.size]
    unknown = len(missing) - len(known)
    rest = f", and {unknown} whose size is not published" if unknown else ""
    lines = [f"  to get: {sum(known) / 1e9:.1f} GB of {counted(len(known), 'dataset')}{rest}"]
    for row in missing:
        size = f"{row.size / 1e9:.2f} GB" if row.size else "not published"
        by_hand = "  (sign up first: it prints the steps)" if row.steps else ""
        lines.append(f"    {size:>13}  loreal data get {row.name} --data {data}{by_hand}")
    return lines


def weights_lines(runs: Sequence[Run]) -> list[str]:
    """Return where the weights of runs are, a line each."""
    lines = []
    for name in dict.fromkeys(run.spec.weights for run in runs):
        place = Path(name).expanduser()
        kept = Path.home() / ".cache" / "clip" / f"{name.replace('/', '-')}.pt"
        if place.is_file() or kept.is_file():
            lines.append(f"weights {name}: there ({place if place.is_file() else kept})")
        else:
            lines.append(f"weights {name}: not in {kept}; the first run fetches them")
    return lines


def disk_lines(runs: Sequence[Run], evidence: Evidence | None, out: Path) -> list[str]:
    """Return what the data and the results take on disk, and what is free."""
    sizes = [datasets()[name].size for name in wanted_datasets(runs)]
    unknown = sum(not size for size in sizes)
    text = f"disk: all data at least {sum(sizes) / 1e9:.0f} GB"
    text += f" ({unknown} of {len(sizes)} have no published size)" if unknown else ""
    lines = [f"{text}; {ROOM * max(sizes) / 1e9:.0f} GB while the largest is unpacked"]
    there = {result.path for result in evidence.results} if evidence else set()
    each = f"{counted(len(runs), 'run')}, not known before one has ended"
    if there:
        used = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        total = used / len(there) * len(runs)
        each = f"about {total / 1e9:.1f} GB, by {counted(len(there), 'run')} already there"
    places = {"DATA": runs[0].spec.data, "OUT": out}
    free = [f"{_free(place) / 1e9:.0f} GB at {name}" for name, place in places.items()]
    return [*lines, f"      results: {each}", f"      free: {', '.join(free)}"]


def _free(place: Path) -> int:
    """Return the free bytes of the disk that a folder is on or will be on."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def hour_lines(runs: Sequence[Run], evidence: Evidence | None, bench: Path) -> list[str]:
    """Return the GPU hours of the runs that are still to be made, by kind of run."""
    results = _of_gpu(bench)
    if results is None:
        return [f"GPU hours: not known; measure a step on your device first: {MEASURE} {bench}"]
    from loreal_plugin.bench.run_hours import BenchTimes, Counted
    from loreal_plugin.sweep.estimate import estimate
    from loreal_plugin.sweep.run_sweep import kind_of, title_of

    counted = {n: Counted(row.classes, row.pictures[2]) for n, row in datasets().items()}
    guesses = estimate(runs, evidence, times=BenchTimes(results, counted))
    members: dict[tuple[object, ...], list[int]] = {}
    for index, run in enumerate(runs):
        members.setdefault(kind_of(run), []).append(index)
    device = next(iter(results.records.values()))["where"]["device"]
    lines = [f"hours of one GPU at most, by {bench} ({device}); reading pictures is not in it:"]
    total, unknown = 0.0, 0
    for found in members.values():
        known = [guesses[i].seconds for i in found if guesses[i].seconds is not None]
        hours = sum(known) / 3600
        total, unknown = total + hours, unknown + len(found) - len(known)
        title = title_of([runs[i] for i in found])
        lines.append(f"  {hours:>8.1f}  {title}")
    lines.append(f"  {total:>8.1f}  together")
    lines += (
        [f"            without {counted(unknown, 'run')}: {bench} lacks their cells"]
        if unknown
        else []
    )
    return lines


def _of_gpu(bench: Path) -> Results | None:
    """Return what was measured on a GPU at the published sizes, None where nothing was."""
    if not bench.is_file():
        return None
    from loreal_plugin.bench.lookup import group
    from loreal_plugin.bench.results_file import BenchStore

    found = [r for r in group(BenchStore(bench)) if r.setting[:2] == ("vit_b16", "cuda")]
    return found[0] if found else None
