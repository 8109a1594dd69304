"""`loreal options`: the generated table of every key of cfg.TRAINER.LOREAL."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from typing import Any

from loreal_plugin.options import LorealOptions
from loreal_plugin.presets import GUESSES, PRESETS


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "options", help="print the table of every LOREAL key", description=__doc__
    )
    parser.add_argument(
        "--write",
        metavar="FILE",
        help="replace the part 'options' of a document, e.g. docs/OPTIONS.md",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the table."""
    from loreal_plugin.cli.results import deliver

    deliver(options_table(), args.write, "options")
    return 0


def options_table() -> str:
    """Return the markdown table of every key: choices, the value of each preset, help."""
    lines = [
        "| key | choices | `default` | `paper` | `authors` | what |",
        "|---|---|---|---|---|---|",
    ]
    for spec in fields(LorealOptions):
        assert spec.default is not MISSING
        cells = [PRESETS[p].get(spec.name, spec.default) for p in ("default", "paper", "authors")]
        shown = [f"`{c}`" if c != "" else "(empty)" for c in cells]
        if spec.name in GUESSES:
            shown[1] += " (guess)"
        if spec.name == "preset":
            shown = ["`default`", "`paper`", "`authors`"]
        choices = (
            ", ".join(f"`{c}`" for c in spec.metadata["choices"]) or type(spec.default).__name__
        )
        lines.append(
            f"| `{spec.name.upper()}` | {choices} | {' | '.join(shown)} | {spec.metadata['help']} |"
        )
    return "\n".join(lines)
