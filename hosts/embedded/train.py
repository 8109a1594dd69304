"""Train or evaluate one trainer of this host on one data set; the family's command line.

python train.py --root DATA --trainer MaPLe --dataset-config-file D.yaml --config-file T.yaml \
    --output-dir OUT --seed 1 [KEY VALUE ...]
python train.py ... --eval-only --model-dir OUT --load-epoch 5
"""

from __future__ import annotations

import argparse
import copy
import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
import yaml
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger
from yacs.config import CfgNode

from loreal_plugin.errors import ConfigError, LorealError

# importing a module registers the data sets or the trainer in it
for _module in (
    "datasets",
    "trainers.coop",
    "trainers.maple",
    "trainers.mmadapter",
    "trainers.mmrl",
):
    importlib.import_module(_module)

# section of cfg.TRAINER -> key -> default; names and values are those of the public repositories
TRAINER_SECTIONS = {
    "COOP": {
        "N_CTX": 16,
        "CSC": False,
        "CTX_INIT": "",
        "PREC": "fp16",
        "CLASS_TOKEN_POSITION": "end",
    },
    "MAPLE": {"N_CTX": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9},
    "MMADAPTER": {
        "TEXT_CTX_INIT": "",
        "PREC": "amp",
        "ADAPTER_START": 4,
        "ADAPTER_END": 12,
        "ADAPTER_DIM": 32,
        "ADAPTER_SCALE": 0.1,
    },
    "MMRL": {
        "ALPHA": 0.7,
        "REG_WEIGHT": 1.0,
        "REP_LAYERS": [],
        "REP_DIM": 512,
        "N_REP_TOKENS": 5,
        "PREC": "fp16",
    },
}


def print_args(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Print the command line and the configuration."""
    print("***************\n** Arguments **\n***************")
    for key, value in sorted(vars(args).items()):
        print(f"{key}: {value}")
    print(f"************\n** Config **\n************\n{cfg}")


def reset_cfg(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Put what the command line's own arguments say into the configuration."""
    if args.seed >= 0:
        cfg.SEED = args.seed
    for node, key, value in (
        (cfg.DATASET, "ROOT", args.root),
        (cfg, "OUTPUT_DIR", args.output_dir),
        (cfg, "RESUME", args.resume),
        (cfg.DATASET, "SOURCE_DOMAINS", args.source_domains),
        (cfg.DATASET, "TARGET_DOMAINS", args.target_domains),
        (cfg.INPUT, "TRANSFORMS", args.transforms),
        (cfg.TRAINER, "NAME", args.trainer),
        (cfg.MODEL.BACKBONE, "NAME", args.backbone),
        (cfg.MODEL.HEAD, "NAME", args.head),
    ):
        if value:
            node[key] = value


def extend_cfg(cfg: CfgNode) -> None:
    """Add the sections of this host's trainers, the class subset and MMRL's task, with defaults."""
    for name, section in TRAINER_SECTIONS.items():
        cfg.TRAINER[name] = CfgNode(copy.deepcopy(section))
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base, new
    cfg.TASK = "B2N"  # B2N, FS, CD


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """Return the frozen configuration.

    Later sources win: defaults, data set file, trainer file, arguments, KEY VALUE pairs.

    Raises:
        ConfigError: for a file that is missing or unreadable, an unknown key, or a value of another
            type.
    """
    cfg = get_cfg_default()
    extend_cfg(cfg)
    for path in (args.dataset_config_file, args.config_file):
        if path and not path.lower().endswith((".yaml", ".yml")):
            raise ConfigError(f"configuration file '{path}' is no .yaml: yacs would run a .py file")
        if path:
            _merge(cfg.merge_from_file, path, f"configuration file '{path}'")
    reset_cfg(cfg, args)
    _merge(cfg.merge_from_list, args.opts or [], "the KEY VALUE pairs of the command line")
    cfg.freeze()
    return cfg


def _merge(merge: Callable[[Any], None], what: Any, source: str) -> None:
    """Call a yacs merge; turn what it raises on bad input into one line that names the source."""
    try:
        merge(what)
    except (OSError, AssertionError, KeyError, ValueError, AttributeError, yaml.YAMLError) as error:
        fault = " ".join(str(error).strip('"').split())
        raise ConfigError(f"{source}: {fault or 'these are not pairs'}") from error


def _fix_random_state(seed: int) -> None:
    """Seed every generator; a negative seed leaves them, and cuDNN is free to choose."""
    repeatable = seed >= 0
    if repeatable:
        set_random_seed(seed)
    print(f"Seed: {seed if repeatable else 'none'}")
    # cuDNN's search for the fastest kernel may choose another one the next time
    torch.backends.cudnn.benchmark = not repeatable
    torch.backends.cudnn.deterministic = repeatable


def main(args: argparse.Namespace) -> None:
    """Train, or with --eval-only load and test."""
    cfg = setup_cfg(args)
    setup_logger(cfg.OUTPUT_DIR)
    _fix_random_state(cfg.SEED)
    print_args(args, cfg)
    print(f"Collecting env info ...\n** System info **\n{collect_env_info()}\n")
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    elif not args.no_train:
        trainer.train()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the family's command line."""
    parser = argparse.ArgumentParser(
        description="Train or evaluate a trainer of the embedded host."
    )
    add = parser.add_argument
    add("--root", default="", help="folder of the data sets")
    add("--output-dir", default="", help="folder for log, checkpoints and TensorBoard")
    add(
        "--resume",
        default="",
        help="folder of checkpoints to go on from (default: the output folder)",
    )
    add("--seed", type=int, default=-1, help="0 or more fixes the seed")
    add("--source-domains", nargs="+", help="source domains")
    add("--target-domains", nargs="+", help="target domains")
    add("--transforms", nargs="+", help="names of picture transforms")
    add("--config-file", default="", help="YAML of the trainer")
    add("--dataset-config-file", default="", help="YAML of the data set")
    add("--trainer", default="", help="name of the trainer")
    add("--backbone", default="", help="CLIP to use: a name, a file, demo or demo-2")
    add("--head", default="", help="name of a head (no trainer here uses one)")
    add("--eval-only", action="store_true", help="load and test, do not train")
    add("--model-dir", default="", help="folder of checkpoints for --eval-only")
    add("--load-epoch", type=int, help="epoch to load for --eval-only (default: the best model)")
    add("--no-train", action="store_true", help="build everything, do not train")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that change the configuration")
    return parser


if __name__ == "__main__":
    try:
        main(build_parser().parse_args())
    except (LorealError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
