"""`loreal attributes mine | score | show | check`: words of a language model, and their worth.

docs/ATTRIBUTES.md explains the files and the steps.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.cli.attributes_mine import add_mine
from loreal_plugin.plain_output import counted

_ATTRIBUTES = "a shipped name (oxford_pets, demo, ...) or a file"


def add_parser(subparsers: Any) -> None:
    """Add the sub-command with its four actions."""
    parser = subparsers.add_parser(
        "attributes", help="mine, score, show and check attribute words", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_mine(actions)
    _add_score(actions)
    _add_show(actions)
    _add_check(actions)


def _add_score(actions: Any) -> None:
    parser = actions.add_parser(
        "score", help="measure on training pictures how well each word can be told at phi"
    )
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help="of configs/datasets/, or a folder of DATA"
    )
    parser.add_argument(
        "--attributes", default="", metavar="NAME|FILE", help="attribute file (that of the dataset)"
    )
    parser.add_argument("--words", nargs="+", default=[], metavar="WORD", help="further candidates")
    parser.add_argument(
        "--values",
        nargs="+",
        default=[],
        metavar="WORD=A,B,...",
        help="values of a word, on top of the file's",
    )
    parser.add_argument(
        "--weights", help="demo, demo-2, an OpenAI name or a file (CLIP_WEIGHTS; by dataset)"
    )
    parser.add_argument("--phi", type=int, default=96, help="(%(default)s)")
    parser.add_argument("--classes", choices=("base", "all"), default="base", help="(%(default)s)")
    parser.add_argument(
        "--shots", type=int, default=16, help="training pictures a class (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the few-shot subset (%(default)s)")
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument(
        "--no-descriptions", action="store_true", help="class prompts though there are descriptions"
    )
    parser.add_argument(
        "--plot", metavar="PNG", help="draw the scores (./attributes_<dataset>.png)"
    )
    parser.add_argument(
        "--choose", type=int, metavar="K", help="write a file with the best K words; needs --out"
    )
    parser.add_argument("--out", metavar="FILE", help="that file")
    parser.add_argument("--force", action="store_true", help="replace it if it exists")
    parser.set_defaults(run=run_score)


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classnames", metavar="FILE", help="class names (those in the attribute file)"
    )
    parser.add_argument(
        "--k", type=int, default=0, help="attributes in a prompt (5, or all of fewer)"
    )
    parser.add_argument("--n-content", type=int, default=0, help="content tokens in a slot (2)")
    parser.add_argument("--order", default="class_first", help="SLOT_ORDER (%(default)s)")


def _add_show(actions: Any) -> None:
    parser = actions.add_parser("show", help="print a class's whole prompt with token counts")
    parser.add_argument("attributes", metavar="NAME|FILE", help=_ATTRIBUTES)
    _add_layout(parser)
    parser.add_argument(
        "--class", dest="classname", metavar="NAME", help="a class (the one with the most tokens)"
    )
    parser.add_argument(
        "--template", default="a photo of a", help="the host's context (%(default)s)"
    )
    parser.set_defaults(run=run_show)


def _add_check(actions: Any) -> None:
    parser = actions.add_parser(
        "check", help="check attribute files; exit code 1 where one has faults"
    )
    parser.add_argument("attributes", nargs="+", metavar="NAME|FILE", help=_ATTRIBUTES)
    _add_layout(parser)
    parser.set_defaults(run=run_check)


# ---- score ---------------------------------------------------------------------------------------


def run_score(args: argparse.Namespace) -> int:
    """Score every candidate; print, plot, and where asked write the best K."""
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.mining.attribute_file import (
        read_attribute_file,
        refuse_overwriting,
        write_attribute_file,
    )
    from loreal_plugin.mining.score_report import (
        choose_words,
        chosen_content,
        format_scores,
        plot_scores,
    )
    from loreal_plugin.mining.score_run import score_file

    if bool(args.choose) != bool(args.out):
        raise ConfigError("--choose K and --out FILE go together")
    if args.out:
        refuse_overwriting(Path(args.out).expanduser(), args.force)
    file = read_attribute_file(args.attributes, args.dataset)
    found = score_file(
        file,
        args.dataset,
        extra=args.words,
        weights=args.weights or os.environ.get("CLIP_WEIGHTS"),
        phi=args.phi,
        subset=args.classes,
        shots=args.shots,
        seed=args.seed,
        data=args.data,
        descriptions=not args.no_descriptions,
        values=_parse_values(args.values),
    )
    print(found.headline)
    print(format_scores(found.scores, found.kinds, found.how["native_size"], args.phi))
    plot = Path(args.plot or f"attributes_{args.dataset}.png").expanduser()
    plot_scores(found.scores, found.how["native_size"], args.phi, plot)
    print(f"plot: {plot}")
    if args.choose:
        chosen = choose_words(found.scores, file, found.classnames, args.choose)
        content = chosen_content(file, chosen, found.scores, found.how)
        write_attribute_file(Path(args.out).expanduser(), content, force=args.force)
        print(f"chosen: {', '.join(chosen)}\nwritten: {args.out}")
    return 0


def _parse_values(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return word -> values of texts `word=a,b,c`; ConfigError where one is not of this form."""
    from loreal_plugin.errors import ConfigError

    found = {}
    for text in texts:
        word, _, listed = text.partition("=")
        values = [" ".join(value.split()) for value in listed.split(",") if value.strip()]
        if not word.strip() or len(values) < 2:
            raise ConfigError(f"--values '{text}': expected WORD=A,B,... with two values or more")
        found[" ".join(word.split())] = values
    return found


# ---- show and check ------------------------------------------------------------------------------


def _names(args: argparse.Namespace, file: Any) -> list[str]:
    from loreal_plugin.mining.attribute_file import read_class_list

    return (
        read_class_list(Path(args.classnames).expanduser()) if args.classnames else file.classnames
    )


def run_show(args: argparse.Namespace) -> int:
    """Print the prompt of one class, part by part."""
    from tabulate import tabulate

    from loreal_plugin.errors import ConfigError
    from loreal_plugin.mining.attribute_file import find_class, read_attribute_file
    from loreal_plugin.mining.prompt_tokens import (
        CONTEXT_LENGTH,
        count_tokens,
        longest_name,
        prompt_parts,
    )
    from loreal_plugin.options import LorealOptions

    file = read_attribute_file(args.attributes)
    names, words = _names(args, file), file.words
    if not names and not args.classname:
        raise ConfigError(
            f"{words.source} lists no class names; name a class with --class, or --classnames FILE"
        )
    name = (
        find_class(args.classname, names)
        if names and args.classname
        else args.classname or longest_name(names)
    )
    own = next((list(w) for c, w in words.per_class.items() if c == name), None)
    chosen = (own or list(words.words))[: args.k or LorealOptions.n_attributes]
    n_content = args.n_content or LorealOptions.n_content
    parts = prompt_parts(
        name, chosen, n_content=n_content, order=args.order, template=args.template
    )
    print(" ".join(part.text for part in parts))
    rows = [(p.kind, p.text, p.n_tokens, f"{p.start}-{p.start + p.n_tokens - 1}") for p in parts]
    total = count_tokens(parts)
    print(
        tabulate(
            [*rows, ("total", "", total, f"of {CONTEXT_LENGTH}")],
            headers=("part", "text", "tokens", "at"),
        )
    )
    if total > CONTEXT_LENGTH:
        print(
            f"warning: {total - CONTEXT_LENGTH} token(s) too long; training refuses this prompt",
            file=sys.stderr,
        )
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print the faults of every file; exit code 1 where there are any, or one cannot be read."""
    from loreal_plugin.errors import AttributeFileError
    from loreal_plugin.mining.attribute_file import check_attribute_file, read_attribute_file

    good = True
    for name in args.attributes:
        try:
            file = read_attribute_file(name)
        except AttributeFileError as error:
            print(f"{name}: {error}", file=sys.stderr)
            good = False
            continue
        verdict = check_attribute_file(
            file, _names(args, file), k=args.k, n_content=args.n_content, order=args.order
        )
        for fault in verdict.faults:
            print(f"fault: {fault}")
        for note in verdict.notes:
            print(f"note: {note}")
        print(
            f"{file.words.source}: {counted(len(file.words.words), 'attribute')},"
            f" {counted(len(verdict.faults), 'fault')}"
        )
        good &= not verdict.faults
    return 0 if good else 1
