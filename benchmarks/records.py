"""The records that the pages of results/ are made from, packed and kept beside the pages.

    python benchmarks/records.py pack OUTPUT [OUTPUT ...]
    python benchmarks/records.py pages [--check]
    python benchmarks/records.py unpack FOLDER

`pack` takes every results.json of runs, stages and rivals below output folders; records of sweeps,
which name paths of a machine, stay out. A sweep that ended early goes on elsewhere so: unpack the
records, let a plan of the runs that are not among them (`loreal sweep PLAN --out FOLDER --dry-run`
says which) write into another folder, and pack both.

`pages` makes results/EVIDENCE.md with its pictures, the tables of results/RESULTS.md with the plot
of choices, and docs/CLAIMS.md from the packed records; with --check it changes nothing, names each
page whose text differs, and its exit code is 1 where one does. `unpack` writes the records into a
new folder, for `loreal report FOLDER` and the other commands that read finished runs.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import choices, claims  # noqa: E402  (needs the path above)
from loreal_plugin.cli import main as loreal  # noqa: E402
from loreal_plugin.errors import LorealError  # noqa: E402
from loreal_plugin.files import (  # noqa: E402
    replace_between,
    replacing,
    write_bytes,
    write_text,
)
from loreal_plugin.files.archives import unpack  # noqa: E402
from loreal_plugin.files.folders import preparing  # noqa: E402
from loreal_plugin.results.markdown import table_markdown  # noqa: E402
from loreal_plugin.results.reader import is_set_aside  # noqa: E402
from loreal_plugin.results.record import RESULTS, read_record  # noqa: E402

PACKED = ROOT / "results" / "records.tar.xz"
EVIDENCE = "results/EVIDENCE.md"
TABLES = "results/RESULTS.md"
LEDGER = "docs/CLAIMS.md"
PICTURES = "results/pictures/evidence"
CHOICES = "results/pictures/choices.png"


def pack(outs: Sequence[Path], to: Path) -> int:
    """Pack the records below output folders; the same records give the same bytes.

    Args:
        outs: where a run is in several of them, the last one's record is taken. The record of a
            training alone is none of its run: a run with other settings of the adaptation trains
            the same stage 3 in its folder. Of the same test, the first record is taken: it stands
            for the run that made it.

    Returns:
        how many there are.

    Raises:
        LorealError: a folder has none, or a damaged one.
    """
    found: dict[str, bytes] = {}
    for out in outs:
        records = dict(_records(out))
        if not records:
            raise LorealError(f"no {RESULTS} below {out}; name the output folder of finished runs")
        found |= {name: _fuller(found.get(name), content) for name, content in records.items()}
    with replacing(to) as temporary, tarfile.open(temporary, "w:xz", preset=9) as packed:
        for name, content in sorted(found.items()):
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            packed.addfile(facts, io.BytesIO(content))
    return len(found)


def _fuller(earlier: bytes | None, later: bytes) -> bytes:
    """Return the later of two records of one place; the earlier, where it is the same test, or it
    alone has a run's rows of the same training.
    """
    if earlier is None:
        return later
    old, new = json.loads(earlier), json.loads(later)
    kept = old["kind"] == "evaluation" or "rows" in old.keys() - new.keys()
    return earlier if old["key"] == new["key"] and kept else later


def _records(out: Path) -> Iterator[tuple[str, bytes]]:
    """Give the path and content of each record of a run; those of replaced runs are nobody's."""
    for path in out.rglob(RESULTS):
        if is_set_aside(path):
            continue
        content, fault = read_record(path)
        if fault:
            raise LorealError(f"{path} {fault}")
        if content["kind"] != "sweep":
            yield path.relative_to(out).as_posix(), path.read_bytes()


def unpacked(packed: Path, folder: Path) -> Path:
    """Write packed records into a folder; return it.

    Raises:
        LorealError: there is no archive, or a damaged one.
    """
    if not packed.is_file():
        raise LorealError(f"{packed} is not there; `pack` makes it from finished runs")
    unpack(packed, folder)
    return folder


def pages(out: Path, root: Path = ROOT) -> dict[str, str | bytes]:
    """Return the files that the records below a folder give, by their paths in the project.

    Args:
        out: the records.
        root: the project whose results/RESULTS.md has the text around the tables.
    """
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        if loreal(["report", str(out), "--out", str(made)]):
            raise LorealError("the report could not average all runs; the lines above say which")
        text = (made / "report.md").read_text(encoding="utf-8")
        files: dict[str, str | bytes] = {
            f"{PICTURES}/{path.name}": path.read_bytes() for path in made.glob("pictures/*.png")
        }
        files[EVIDENCE] = text.replace("](pictures/", "](pictures/evidence/")
        files |= choices_in(tables(out, made, root), out)
        page = made / "claims.md"
        claims.main(["--out", str(out), "--write", str(page)])
        files[LEDGER] = page.read_text(encoding="utf-8")
    return files


def tables(out: Path, made: Path, root: Path = ROOT) -> str:
    """Return results/RESULTS.md with the tables that the records give.

    Args:
        made: a folder to write in.
    """
    page = made / "RESULTS.md"
    write_text(page, (root / TABLES).read_text(encoding="utf-8"))
    if loreal(["results", str(out), "--plain", "--write", str(page), "--part", "evidence"]):
        raise LorealError(f"the tables of {TABLES} could not be made; the lines above say why")
    return page.read_text(encoding="utf-8")


def choices_in(page: str, out: Path, method: str = "coop") -> dict[str, str | bytes]:
    """Return results/RESULTS.md with the choices of a method, and their plot."""
    found = choices.choices(out, method)
    text = table_markdown(choices.table(found))
    plot = choices.plot(found)
    return {TABLES: replace_between(page, choices.PART, text), CHOICES: plot.png}


def differing(files: Mapping[str, str | bytes], root: Path = ROOT) -> list[str]:
    """Return the pages whose text is not what the records give; pictures are not compared."""
    texts = {name: text for name, text in files.items() if isinstance(text, str)}
    return [
        name
        for name, text in texts.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def write(files: Mapping[str, str | bytes], root: Path = ROOT) -> None:
    """Write the pages and their pictures; pictures that are shown no more are removed."""
    for path in (root / PICTURES).glob("*.png"):
        if f"{PICTURES}/{path.name}" not in files:
            path.unlink()
    for name, content in files.items():
        if isinstance(content, str):
            write_text(root / name, content)
        else:
            write_bytes(root / name, content)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--packed", type=Path, default=PACKED, help="the archive (results/records.tar.xz)"
    )
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("pack", help="pack the records of output folders")
    one.add_argument("outs", type=Path, metavar="OUTPUT", nargs="+")
    one = steps.add_parser("pages", help="make the pages of the packed records")
    one.add_argument("--check", action="store_true", help="compare, and change nothing")
    one = steps.add_parser("unpack", help="write the packed records into a new folder")
    one.add_argument("folder", type=Path, metavar="FOLDER")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run one step; 1 where a page differs, 2 where something is wrong."""
    args = parse(words)
    try:
        return run(args)
    except LorealError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Run the step that was asked for; 1 where a page differs."""
    if args.step == "pack":
        n = pack(args.outs, args.packed)
        print(f"written: {args.packed}, {n} records, {args.packed.stat().st_size / 1e3:.0f} kB")
        return 0
    if args.step == "unpack":
        if args.folder.exists():
            raise LorealError(f"{args.folder} is there already; name a new folder")
        with preparing(args.folder) as prepared:
            unpacked(args.packed, prepared / "records").rename(args.folder)
        print(f"written: {args.folder}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        files = pages(unpacked(args.packed, Path(temporary)))
    if args.check:
        different = differing(files)
        for name in different:
            print(f"differs from what the records give: {name}")
        return int(bool(different))
    write(files)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
