"""`loreal sweep`: many runs from one plan file; complete ones are left out; then a report."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from loreal_plugin.plain_output import say_line

MANY = 40  # runs of which a dry run shows every command
EPILOG = """\
PLAN is a YAML file or the name of one in configs/plans/. It lists methods, phis, datasets, seeds,
shots, protocols and variants; every combination is one run. A run that fails is listed and the
others go on (exit code 1 at the end); a sweep that was broken off goes on when it is started again.
Logs: OUT/sweeps/<name>/logs/.

--slurm submits one task for each family of runs that share a stage, as an array through submitit
(the extra `slurm`), waits for them, then writes the report; its words are submitit's parameters,
--jobs is the number of tasks at a time.

environment (an option wins): DATA, HOST, OUT, LOREAL_CACHE

examples:
  loreal sweep demo --dry-run
  loreal sweep demo --jobs 2
  loreal sweep plan.yaml --slurm timeout_min=240 slurm_partition=gpu gpus_per_node=1 cpus_per_task=8
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "sweep",
        help="make every run of a plan that is not there yet, then the report",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("plan", metavar="PLAN", help="a YAML file, or a name of configs/plans/")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is to be made and how long it takes; of public datasets what is there and"
        " what is to get, disk, and GPU hours",
    )
    parser.add_argument(
        "--commands", action="store_true", help=f"--dry-run of over {MANY} runs: every command"
    )
    parser.add_argument(
        "--bench", metavar="FILE", help="record of loreal bench for GPU hours (OUT/bench.json)"
    )
    parser.add_argument("--jobs", metavar="N", help="runs at a time (1; with --gpus one each)")
    parser.add_argument(
        "--gpus", metavar="0,1", help="CUDA devices, a run at a time on each (--jobs: their number)"
    )
    parser.add_argument("--slurm", nargs="*", metavar="KEY=VALUE", help="run as a SLURM array")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")
    parser.add_argument("--out", help="folder for results (OUT; ./output)")
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument("--host", help="root of a CoOp-family checkout (HOST; the embedded host)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the sweep; 0 when everything is done, 1 when a run failed or a row has no mean."""
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.runs.spec import whole_number
    from loreal_plugin.sweep.plan_file import read_plan
    from loreal_plugin.sweep.planned_runs import Locations, expand
    from loreal_plugin.sweep.run_sweep import sweep

    gpus = [name.strip() for name in (args.gpus or "").split(",") if name.strip()]
    if args.gpus is not None and (not gpus or args.slurm is not None):
        raise ConfigError(
            "--gpus takes names of CUDA devices of this machine, such as 0,1, and does not go with"
            " --slurm (there gpus_per_node=1)"
        )
    if (args.commands or args.bench) and not args.dry_run:
        raise ConfigError("--commands and --bench belong to --dry-run")
    jobs = whole_number("--jobs", args.jobs or str(max(1, len(gpus))), minimum=1)
    out = Path(args.out or os.environ.get("OUT") or "output").expanduser().resolve()
    locations, plan = Locations(out, args.data, args.host), read_plan(args.plan)
    if args.dry_run:
        runs = expand(plan, locations)
        _dry_run(args, plan, runs, out, jobs)
        return 0
    settings = None
    if args.slurm is not None:
        from loreal_plugin.sweep.slurm import parse_settings

        settings = parse_settings(args.slurm)
    report = not args.no_report
    ended = sweep(
        plan, locations, jobs=jobs, slurm=settings, gpus=gpus, report=report, say=say_line
    )
    return 1 if ended.failed or ended.open or ended.refused else 0


def _dry_run(args: argparse.Namespace, plan: Any, runs: list[Any], out: Path, jobs: int) -> None:
    """Print what is to be made, what it needs, and how long it takes."""
    from loreal_plugin.cli.sweep_needs import needs
    from loreal_plugin.sweep.run_sweep import describe, known_evidence

    evidence = known_evidence(out)
    each = args.commands or len(runs) <= MANY
    print("\n".join(describe(plan, runs, evidence, jobs, each=each)))
    if not each:
        print("each command: add --commands")
    bench = Path(args.bench).expanduser() if args.bench else out / "bench.json"
    for line in needs(runs, evidence, out, bench):
        print(line)
