"""`loreal rivals`: what else one would try at low resolution, with the run's frozen models."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.cli.run_options import add_choices, add_run_parser, spec_of, target_names
from loreal_plugin.errors import ConfigError
from loreal_plugin.results.protocols import ACROSS, BASE2NEW, TRAINED

EPILOG = """\
Measures zero-shot CLIP and the host trained at the native size and at PHI (stages 1 and 2 of the
run, which must be there), all tested at PHI: as they are; with the mean shift between the
resolutions taken back; with a ridge map from low to standard embeddings; with pictures enlarged to
every multiple of the patch size up to the native size; with pictures enlarged to the native size
whose tokens are merged to the number that a small picture has (zero-shot CLIP and methods whose
image side learns nothing). Each row has the tokens that the image encoder reads, the milliseconds
of one picture alone and of one in a batch. Corrections are fitted on the run's few-shot training
pictures, in as many augmented views as stage 3 sees (CACHE_VIEWS). --tower adds another CLIP, as
one with larger patches. --random-sizes adds the host trained with a random size of pictures in
every step, from PHI to the native size, and like stage 2 otherwise; this trains, once, and goes on
where it was interrupted. Pairs after -- are those of the run.

examples:
  loreal rivals maple 96
  loreal rivals maple 96 --tower ViT-B/32
  loreal rivals maple 96 --random-sizes
  loreal rivals maple 96 --protocol xd --shots 4
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    text = "measure zero-shot CLIP, mean shift, ridge and up-sampling on a run's frozen models"
    parser = add_run_parser(subparsers, "rivals", text, __doc__, EPILOG)
    add_choices(parser)
    parser.add_argument(
        "--protocol",
        default=BASE2NEW.name,
        choices=tuple(TRAINED),
        help="whose run (base2new)",
    )
    parser.add_argument(
        "--targets", metavar="NAMES", help="what xd or dg tests on (TARGETS; those of the source)"
    )
    parser.add_argument(
        "--tower",
        metavar="WEIGHTS",
        default="",
        help="also zero-shot CLIP with these weights on enlarged pictures, as ViT-B/32",
    )
    parser.add_argument(
        "--random-sizes",
        action="store_true",
        help="also train the host with a random size of pictures in every step, and test it at PHI",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what is not there yet and print the table."""
    from loreal_plugin.runs.protocol import protocol_of

    if args.targets and args.protocol not in ACROSS:
        raise ConfigError(
            f"--targets goes with --protocol {' or '.join(ACROSS)}; {args.protocol} tests what it"
            " trains on"
        )
    spec = spec_of(args)
    protocol = protocol_of(args.protocol, spec.dataset, target_names(args.targets))

    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.paths import typed
    from loreal_plugin.results.run_table import format_rivals
    from loreal_plugin.runs.rivals import run_rivals

    more = {"tower": args.tower, "random_sizes": args.random_sizes}
    print(format_rivals(run_rivals(spec, protocol=protocol, **more)))
    print(f"\n{next_line(f'loreal report {typed(spec.out)}')}")
    return 0
