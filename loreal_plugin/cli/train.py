"""`loreal train`: one trainer run on an attached host, with the arguments of its train.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EPILOG = """\
every other argument is the family's: --root --seed --trainer --dataset-config-file --config-file
--output-dir --eval-only --model-dir --load-epoch --no-train ... KEY VALUE

example:
  loreal train --trainer MaPLe_LOREAL --root DATA --seed 1 --output-dir OUT \\
    --dataset-config-file configs/datasets/caltech101.yaml \\
    --config-file configs/trainers/MaPLe_LOREAL/vit_b16.yaml \\
    DATASET.NUM_SHOTS 16 TRAINER.LOREAL.PHI 96 TRAINER.LOREAL.ALPHA_DIR A TRAINER.LOREAL.BETA_DIR B
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "train",
        usage="loreal train [--host HOST] --trainer TRAINER ... [KEY VALUE ...]",
        help=(
            "run one trainer (a host's own or <X>_LOREAL) with the arguments of the family's"
            " train.py"
        ),
        description=__doc__,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--host", help="root of a CoOp-family checkout (HOST; the embedded host)")
    parser.set_defaults(run=run, takes_extra=True)


def family_parser() -> argparse.ArgumentParser:
    """Return a parser of the arguments that steer a run and are not part of the config."""
    parser = argparse.ArgumentParser(prog="loreal train", add_help=False, allow_abbrev=False)
    parser.add_argument("--trainer", default="")
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--model-dir", default="")
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--no-train", action="store_true")
    return parser


def method_of(trainer: str, host: Path) -> str:
    """Return the method that a registered trainer name belongs to.

    Raises:
        ConfigError: no method has that trainer; the nearest name is offered, or, where the host has
            such a trainer, the questions that a contract row for it has to answer.
    """
    from loreal_plugin.contract.trainer_names import (
        surely_unknown,
        trainers_with_rows,
        unknown_trainer,
    )
    from loreal_plugin.errors import ConfigError

    if not trainer:
        raise ConfigError("--trainer is missing")
    if fault := surely_unknown(trainer, host):  # said without importing torch
        raise ConfigError(fault)
    names = trainers_with_rows()
    if trainer not in names:
        raise ConfigError(unknown_trainer("trainer", trainer, names, host))
    return names[trainer]


def run(args: argparse.Namespace) -> int:
    """Attach the host and do what its train.py would do."""
    import importlib
    import os
    from contextlib import nullcontext

    from loreal_plugin.runs.spec import find_host

    words = [*args.extra, *args.after]
    chosen, _ = family_parser().parse_known_args(words)
    path = find_host(args.host or os.environ.get("HOST") or "")
    method = method_of(chosen.trainer, path)
    # these import torch: not before the words are looked at
    from loreal_plugin.attach import attach_host
    from loreal_plugin.attach.clip_source import using_weights

    host = attach_host(path, method)
    cfg = host.setup_cfg(words)
    utils = importlib.import_module("dassl.utils")
    if cfg.SEED >= 0:
        utils.set_random_seed(cfg.SEED)
    # what is written on the command line wins over the environment
    named = "MODEL.BACKBONE.NAME" in words
    with using_weights(cfg.MODEL.BACKBONE.NAME) if named else nullcontext():
        return _drive(host, cfg, chosen, utils)


def _drive(host: Any, cfg: Any, chosen: argparse.Namespace, utils: Any) -> int:
    """Build the trainer and train or test it, with the log in its output folder.

    Raises:
        ConfigError: the output folder, or the one to load from, is not named, or a setting cannot
            be used.
        LorealError: the trainer cannot be built; a folder made for its log is removed again.
    """
    from loreal_plugin.devices import device_choice
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.runs.checks import check_trainer
    from loreal_plugin.runs.logs import stage_log
    from loreal_plugin.runs.stage_files import load_checkpoint

    if not cfg.OUTPUT_DIR:
        raise ConfigError("--output-dir is missing")
    if chosen.eval_only and not chosen.model_dir:
        raise ConfigError("--eval-only needs --model-dir, the output folder of the training")
    check_trainer(host, cfg)
    folder, trainer = Path(cfg.OUTPUT_DIR), None
    is_new = not folder.exists()
    try:
        with stage_log(folder, utils.setup_logger, verbose=True):
            print(f"Device: {device_choice()}\n** Config **\n{cfg}")
            trainer = host.build_trainer(cfg)
            if chosen.eval_only:
                load_checkpoint(trainer, Path(chosen.model_dir), chosen.load_epoch)
                trainer.test()
            elif not chosen.no_train:
                trainer.train()
    finally:
        if trainer is None and is_new:
            _remove_log(folder)
    return 0


def _remove_log(folder: Path) -> None:
    """Remove a folder that holds nothing but the log of a trainer that could not be built."""
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {"log.txt"}:
        (folder / "log.txt").unlink(missing_ok=True)
        folder.rmdir()
