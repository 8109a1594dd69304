"""Writes the ledger of claims: each claim of the paper and of this project, and what was measured.

    python benchmarks/claims.py --out OUTPUT [OUTPUT ...] --write docs/CLAIMS.md

`benchmarks/claims.yaml` says what is claimed, where, and which rows answer it. Numbers come from
the records below the output folders, from results/benchmarks/results.json, and from pages that
other commands write. Intervals, tests and verdicts are those of the report and of the ablations. A
claim without a record is not measured. The forms of a claim are functions of `claims_runs.py` and
`claims_records.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import claims_records, claims_runs  # noqa: E402  (needs the path above)
from benchmarks.claims_find import Rows  # noqa: E402
from benchmarks.claims_line import (  # noqa: E402
    AGREES,
    DISAGREES,
    MISSING,
    UNDECIDED,
    Context,
    Line,
)
from loreal_plugin.bench.lookup import group  # noqa: E402
from loreal_plugin.bench.results_file import BenchStore  # noqa: E402
from loreal_plugin.files import write_text  # noqa: E402
from loreal_plugin.results.layout import Cell, Table  # noqa: E402
from loreal_plugin.results.markdown import table_markdown  # noqa: E402

CLAIMS = ROOT / "benchmarks" / "claims.yaml"
BENCH = ROOT / "results" / "benchmarks" / "results.json"
FORMS = {
    "gain": claims_runs.gain,
    "never_below": claims_runs.never_below,
    "trend": claims_runs.trend,
    "cost": claims_runs.cost,
    "agreement": claims_runs.agreement,
    "plan": claims_runs.plan,
    "real": claims_runs.real,
    "ratio": claims_records.ratio,
    "saving": claims_records.saving,
    "parameters": claims_records.parameters,
    "page": claims_records.page,
}
HEAD = """\
# Claims

What the paper claims, what this project claims, and what was measured. Made by
`python benchmarks/claims.py --out OUTPUT --write docs/CLAIMS.md` from `benchmarks/claims.yaml` and
the records of finished runs; no number here is typed.

- **measured**: mean over seeds of HM (LR-B2N) or of the accuracy averaged over targets, in percent:
  the first row of the claim, the second, and the difference in points. "of N lost": what the host
  at phi loses against itself at the native size.
- **95 %**: over test pictures by paired bootstrap with the seeds kept; over seeds Student's t.
- **verdict**: "agrees" and "disagrees" where a paired test has p below .05 and all seeds say the
  same ([SWEEPS.md](SWEEPS.md), "Statistics"); one seed knows nothing of the noise of trainings.
  "undecided": within noise. "not measured": no record among those that were read.
- "Not below" agrees where the difference is not below zero. "Costs nothing" agrees where tokens are
  as many, and the interval over seeds of the ratio of milliseconds holds 1 or less and ends
  below 1.25.
- Every number is of the world that its line names. The demonstration world ([WORLD.md](WORLD.md))
  says in which direction something acts; it does not say how large an effect is on photographs.
"""


def ledger(context: Context, content: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        context: what claims are judged by.
        content: of claims.yaml.
    """
    parts = [HEAD.rstrip()]
    for table in content["tables"]:
        lines = [x for claim in table["claims"] for x in FORMS[claim["form"]](context, claim)]
        parts += [f"## {table['title']}", table_markdown(_table(lines))]
    return "\n\n".join([*parts, "## What was read", "\n".join(_sources(context))]) + "\n"


def _table(lines: Sequence[Line]) -> Table:
    """Return the lines as a table; claims that were not measured have one line each."""
    counts = [
        f"{sum(x.verdict == word for x in lines)} {word}"
        for word in (AGREES, DISAGREES, UNDECIDED, MISSING)
    ]
    body, before = [], ""
    for x in _joined(lines):
        # a claim, its source and its command stand at its first line alone
        first = x.claim != before
        before = x.claim
        cells = (x.claim if first else "", x.source if first else "", x.at, x.measured or "-")
        rest = (x.world, x.seeds, x.pictures, x.over_seeds, x.verdict)
        body.append(tuple(map(Cell, (*cells, *rest, f"`{x.command}`" if first else ""))))
    head = ("claim", "source", "at", "measured", "world", "seeds", "95 % over pictures")
    head += ("95 % over seeds", "verdict", "command")
    return Table(
        f"Cases (a method at a phi): {', '.join(counts)}", head, tuple(body), words=len(head)
    )


def _joined(lines: Iterable[Line]) -> list[Line]:
    """Return the lines with those of one claim that were not measured joined into one."""
    found = []
    for _, members in groupby(lines, key=lambda x: (x.claim, x.world, x.verdict == MISSING)):
        same = list(members)
        if same[0].verdict == MISSING:
            same = [replace(same[0], at=_places([x.at for x in same]))]
        found += same
    return found


def _places(texts: Sequence[str]) -> str:
    """Return `coop, maple, phi 96` for `coop, phi 96` and `maple, phi 96`."""
    pairs = [text.split(", phi ") for text in texts]
    if any(len(pair) != 2 for pair in pairs):
        return "; ".join(dict.fromkeys(texts))
    methods, phis = (dict.fromkeys(pair[i] for pair in pairs) for i in (0, 1))
    return f"{', '.join(methods)}, phi {', '.join(phis)}"


def _sources(context: Context) -> list[str]:
    """Return which runs were read, of which revisions and devices, and what was left out."""
    lines = []
    for number, found in enumerate(context.rows.evidence, start=1):
        known = {name: ", ".join(sorted(values)) for name, values in found.provenance.items()}
        runs = len({result.path for result in found.results})
        where = f"output folder {number}" if len(context.rows.evidence) > 1 else "runs"
        facts = "; ".join(f"{name} {text}" for name, text in known.items())
        lines.append(f"- {where}: {runs} finished runs; {facts}")
        lines += [
            f"- sweep `{sweep['name']}`: {sweep['done']} of {len(sweep['runs'])} runs done"
            for sweep in found.sweeps
        ]
    lines += [f"- not averaged: {refusal}" for refusal in context.rows.refusals]
    devices = {f"{r.setting[0]} on {r.setting[1]}, {r.setting[3]}" for r in context.bench}
    return [*lines, f"- costs: `results/benchmarks/results.json` ({'; '.join(sorted(devices))})"]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", nargs="+", type=Path, required=True, help="output folders of finished runs"
    )
    parser.add_argument("--write", metavar="FILE", type=Path, help="the page (else it is printed)")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="(benchmarks/claims.yaml)")
    parser.add_argument("--bench", type=Path, default=BENCH, help="record of loreal bench")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Write or print the ledger."""
    args = parse(words)
    content = yaml.safe_load(args.claims.read_text(encoding="utf-8"))
    bench = tuple(group(BenchStore(args.bench))) if args.bench.is_file() else ()
    page = ledger(Context(Rows(args.out), bench, content["defaults"], ROOT), content)
    if args.write is None:
        print(page, end="")
    else:
        write_text(args.write, page)
        print(f"written: {args.write}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
