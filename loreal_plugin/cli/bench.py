"""`loreal bench`: what hosts and hosts with LOREAL cost in time, memory and parameters."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EPILOG = """\
Models have random weights: time and memory do not depend on them. A cell is measured in a fresh
process, its variants in turns; results are written after every cell, and cells that are there are
skipped.

examples:
  loreal bench --list
  loreal bench --cells 'versus-*/coop/*'
  loreal bench --size tiny --out tiny.json
  loreal bench --out results/benchmarks/results.json --report results/BENCHMARKS.md   (page only)
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure time, memory and parameters of hosts with and without LOREAL",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--out", default="output/bench.json", help="file of the results (output/bench.json)"
    )
    parser.add_argument("--size", default="vit_b16", help="vit_b16 or, for a trial, tiny (vit_b16)")
    parser.add_argument(
        "--methods", nargs="+", default=[], metavar="METHOD", help="(those of the host)"
    )
    parser.add_argument(
        "--phi", nargs="+", type=int, default=[], help="(96 144 192 and the native size)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="(all that are there)"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads (1)")
    parser.add_argument("--precision", choices=("fp32", "amp"), default="fp32", help="(fp32)")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each variant (9)")
    parser.add_argument(
        "--budget",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="begin no further round of a cell after this; three are always taken (120)",
    )
    parser.add_argument(
        "--cells", nargs="+", default=[], metavar="PATTERN", help="only cells whose id fits one"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the ids of the cells and measure nothing"
    )
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--host", help="root of a CoOp-family checkout (HOST; the embedded host)")
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write the page and its plots from --out, and measure nothing",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, list or report; 1 where a cell failed."""
    _check(args)

    from loreal_plugin.bench.results_file import BenchStore

    store = BenchStore(Path(args.out).expanduser())
    if args.report:
        from loreal_plugin.bench.write_page import write_report

        for path in write_report(store, Path(args.report).expanduser()):
            print(f"written: {path}")
        return 0
    cells = _cells(args)
    if args.list:
        print("\n".join(cell.id for cell in cells))
        return 0
    return 1 if _measure(args, cells, store) else 0


def _check(args: argparse.Namespace) -> None:
    """Raise ConfigError on numbers that mean nothing, before torch is imported."""
    from loreal_plugin.errors import ConfigError

    for name in ("threads", "rounds", "budget"):
        if getattr(args, name) <= 0:
            raise ConfigError(f"--{name} must be positive, got {getattr(args, name)}")


def _cells(args: argparse.Namespace) -> list[Any]:
    """Return the cells that are asked for."""
    from loreal_plugin.bench.cells import methods_to_compare
    from loreal_plugin.bench.run_cells import plan_all, select
    from loreal_plugin.bench.sizes import get_size
    from loreal_plugin.weights.positions import grid_size_of

    size = get_size(args.size)
    for phi in args.phi:
        grid_size_of(phi, size.facts["patch"], "--phi")
    methods = [_method(name) for name in args.methods] or methods_to_compare(_host(args))
    found = plan_all(
        size,
        methods,
        args.phi or size.phis,
        device=args.device,
        threads=args.threads,
        precision=args.precision,
    )
    return select(found, args.cells)


def _host(args: argparse.Namespace) -> Path:
    """Return the folder of the host; HostError where there is none."""
    import os

    from loreal_plugin.runs.spec import find_host

    return find_host(args.host or os.environ.get("HOST") or "")


def _method(name: str) -> str:
    """Return a method's name; ConfigError for none, or one whose prompts depend on the image."""
    from loreal_plugin.contract import get_contract
    from loreal_plugin.errors import ConfigError

    contract = get_contract(name.lower())
    if not contract.static_prompts:
        raise ConfigError(
            f"--methods {name}: its own prompts depend on the image, so there is no text path to"
            " compare; leave it out"
        )
    return contract.method


def _measure(args: argparse.Namespace, cells: list[Any], store: Any) -> int:
    """Measure the cells; return how many failed."""
    from loreal_plugin.bench.run_cells import run_cells
    from loreal_plugin.bench.sizes import get_size, weights_file
    from loreal_plugin.plain_output import say_line

    weights_file(get_size(args.size))
    failed = run_cells(
        cells,
        store,
        _host(args),
        rounds=args.rounds,
        budget_s=args.budget,
        again=args.again,
        say=say_line,
    )
    say_line(f"results: {store.path}")
    return failed
