"""`loreal rivals`: what else one would try at low resolution, with the run's frozen models."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import ConfigError

EPILOG = """\
Measures zero-shot CLIP and the host trained at the native size and at PHI (stages 1 and 2 of the
run, which must be there), all tested at PHI: as they are; with the mean shift between the
resolutions taken back; with a ridge map from low to standard embeddings; with pictures up-sampled
to the native size. Corrections are fitted on the run's few-shot training pictures, in as many
augmented views as stage 3 sees (CACHE_VIEWS). Pairs after -- are those of the run.

examples:
  loreal rivals maple 96
  loreal rivals maple 96 --protocol xd --shots 4
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.base2new import add_environment_options

    parser = subparsers.add_parser(
        "rivals",
        usage="loreal rivals METHOD PHI [DATASET=demo] [SEED=1] [options] [-- KEY VALUE ...]",
        help="measure zero-shot CLIP, mean shift, ridge and up-sampling on a run's frozen models",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", metavar="METHOD", help=f"one of {', '.join(CONTRACTS)}")
    parser.add_argument("phi", metavar="PHI", help="side of the low-resolution input in pixels")
    add_environment_options(parser)
    parser.add_argument("--shots", help="pictures per class (SHOTS; 16)")
    parser.add_argument(
        "--recipe", help="name of the YAML in configs/trainers/<X>_LOREAL/ (RECIPE; by weights)"
    )
    parser.add_argument(
        "--protocol",
        default="base2new",
        choices=("base2new", "xd", "dg", "few_shot"),
        help="whose run (base2new)",
    )
    parser.add_argument(
        "--targets", metavar="NAMES", help="what xd or dg tests on (TARGETS; those of the source)"
    )
    parser.set_defaults(run=run, takes_extra=True)


def run(args: argparse.Namespace) -> int:
    """Measure what is not there yet and print the table."""
    from loreal_plugin.cli.across import target_names
    from loreal_plugin.cli.base2new import spec_of
    from loreal_plugin.runs.protocol import BASE2NEW, FEW_SHOT, across

    if args.targets and args.protocol not in ("xd", "dg"):
        raise ConfigError(
            f"--targets goes with --protocol xd or dg; {args.protocol} tests what it trains on"
        )
    spec = spec_of(args)
    protocol = {"base2new": BASE2NEW, "few_shot": FEW_SHOT}.get(args.protocol)
    protocol = protocol or across(args.protocol, spec.dataset, target_names(args.targets))

    from loreal_plugin.results.run_table import format_rivals
    from loreal_plugin.runs.rivals import run_rivals

    print(format_rivals(run_rivals(spec, protocol=protocol)))
    return 0
