"""The records that the pages of results/ are made from, packed and kept beside the pages.

    python benchmarks/records.py [--packed FILE] pack OUTPUT [OUTPUT ...]
    python benchmarks/records.py pages [--check]
    python benchmarks/records.py [--packed FILE] unpack FOLDER

Kept are results/records.tar.xz (the plan `evidence`), and beside it ablations.tar.xz (the plans
`ablations_published` and `ablations`) and scale.tar.xz (the plan `scale`).

`pack` takes every results.json of runs, stages and rivals below output folders; records of sweeps,
which name paths of a machine, stay out. A sweep that ended early goes on elsewhere so: unpack the
records, let a plan of the runs that are not among them (`loreal sweep PLAN --out FOLDER --dry-run`
says which) write into another folder, and pack both.

`pages` makes results/EVIDENCE.md with its pictures, the tables of results/RESULTS.md with the plot
of choices, results/ABLATIONS.md, the table and plot of "More classes" in docs/WORLD.md, and
docs/CLAIMS.md; with --check it changes nothing, names each page whose text differs, and its exit
code is 1 where one does. `unpack` writes the records into a new folder, for `loreal report FOLDER`
and the other commands that read finished runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import choices, claims  # noqa: E402  (needs the path above)
from benchmarks.demo_world import scale_table  # noqa: E402
from benchmarks.record_archive import pack, unpacked  # noqa: E402
from loreal_plugin.cli import main as loreal  # noqa: E402
from loreal_plugin.errors import LorealError  # noqa: E402
from loreal_plugin.files import replace_between, write_bytes, write_text  # noqa: E402
from loreal_plugin.files.folders import preparing  # noqa: E402
from loreal_plugin.results.markdown import table_markdown  # noqa: E402
from loreal_plugin.sweep.ablations import write_ablations  # noqa: E402

PACKED = ROOT / "results" / "records.tar.xz"
EVIDENCE = "results/EVIDENCE.md"
TABLES = "results/RESULTS.md"
LEDGER = "docs/CLAIMS.md"
PICTURES = "results/pictures/evidence"
CHOICES = "results/pictures/choices.png"
ABLATIONS = "results/ABLATIONS.md"
WORLD = "docs/WORLD.md"
SCALE = "docs/pictures/scale.png"


class Kept(NamedTuple):
    """What is kept, by plans: archives, or the folders that they were unpacked into."""

    evidence: Path
    ablations: Path | None
    scale: Path | None


def kept_beside(packed: Path) -> Kept:
    """Return the archive of the plan `evidence` with those of other plans that stand beside it."""
    others = [packed.with_name(f"{name}.tar.xz") for name in Kept._fields[1:]]
    return Kept(packed, *(path if path.is_file() else None for path in others))


def all_unpacked(kept: Kept, folder: Path) -> Kept:
    """Write the archives into subfolders; return these.

    Raises:
        LorealError: the first is not there, or one is damaged.
    """
    return Kept(*(path and unpacked(path, folder / path.name) for path in kept))


def pages(kept: Kept, root: Path = ROOT) -> dict[str, str | bytes]:
    """Return the files that the records below folders give, by their paths in the project.

    Args:
        kept: folders of records; pages of plans without any are not made.
        root: the project whose results/RESULTS.md and docs/WORLD.md have the text around the
            tables.
    """
    out = kept.evidence
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
        if kept.ablations:
            page = write_ablations(kept.ablations, made / "ablations.md")
            files[ABLATIONS] = page.read_text(encoding="utf-8")
        if kept.scale:
            files |= more_classes(kept.scale, made, root)
        page = made / "claims.md"
        claims.main(["--out", str(together(kept, made)), "--write", str(page)])
        files[LEDGER] = page.read_text(encoding="utf-8")
    return files


def together(kept: Kept, made: Path) -> Path:
    """Return a folder of the records of evidence and ablations, which share runs.

    Args:
        made: a folder to write in.
    """
    if kept.ablations is None:
        return kept.evidence
    pack([kept.ablations, kept.evidence], made / "both.tar.xz")
    return unpacked(made / "both.tar.xz", made / "both")


def more_classes(out: Path, made: Path, root: Path = ROOT) -> dict[str, str | bytes]:
    """Return docs/WORLD.md with the table of the plan `scale`, and its plot.

    Args:
        made: a folder to write in.
    """
    found = scale_table.collect(out)
    scale_table.plot(found, made / "scale.png")
    page = (root / WORLD).read_text(encoding="utf-8")
    text = replace_between(page, scale_table.PART, scale_table.markdown(found))
    return {WORLD: text, SCALE: (made / "scale.png").read_bytes()}


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
        files = pages(all_unpacked(kept_beside(args.packed), Path(temporary)))
    if args.check:
        different = differing(files)
        for name in different:
            print(f"differs from what the records give: {name}")
        return int(bool(different))
    write(files)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
