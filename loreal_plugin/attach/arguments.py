"""The command line that the CoOp family's `train.py` files share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from loreal_plugin.errors import ConfigError

_TEXTS = (
    "root",
    "output-dir",
    "resume",
    "config-file",
    "dataset-config-file",
    "trainer",
    "backbone",
    "head",
    "model-dir",
)
_LISTS = ("source-domains", "target-domains", "transforms")


def config_path(text: str) -> str:
    """Return the path of a configuration as given; yacs would run one that ends in `.py`.

    Raises:
        ConfigError: it does not end in `.yaml` or `.yml`.
    """
    if text and not text.lower().endswith((".yaml", ".yml")):
        raise ConfigError(
            f"configuration '{text}' must be a .yaml or .yml file; others are not read, because"
            " reading a .py file runs it"
        )
    return text


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}")


def family_parser() -> argparse.ArgumentParser:
    """Return a parser of the family's arguments; `KEY VALUE` options follow them."""
    parser = _Parser(prog="train.py", allow_abbrev=False)
    for name in _TEXTS:
        kind = config_path if name.endswith("config-file") else str
        parser.add_argument(f"--{name}", default="", type=kind)
    for name in _LISTS:
        parser.add_argument(f"--{name}", nargs="+")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--train-epoch", type=int)  # MMRL's own
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--no-train", action="store_true")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    return parser


def with_defaults(opts: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """Return `KEY VALUE` options; each default whose key is missing is added at the end."""
    given = list(opts)
    for key, value in defaults.items():
        if key not in given[::2]:
            given += [key, value]
    return given
