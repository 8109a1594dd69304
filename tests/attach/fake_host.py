"""A host of a few lines: what attaching needs to find, in files that a test can take away again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_TRAINER = """
import torch
from dassl.engine import TRAINER_REGISTRY, TrainerBase
from clip import clip


def load_clip_to_cpu(cfg):
    path = clip._download(clip._MODELS[cfg.MODEL.BACKBONE.NAME])
    return clip.Model(torch.load(path))


@TRAINER_REGISTRY.register()
class CoOp(TrainerBase):
    pass
"""

_CLIP = """
import torch

_MODELS = {"ViT-B/16": "https://example.invalid/ViT-B-16.pt"}


def _download(url):
    raise OSError("no network here")


def tokenize(text):
    return torch.zeros(1, 77, dtype=torch.long)


class Model(torch.nn.Module):
    def __init__(self, state):
        super().__init__()
        self.visual = torch.nn.Module()
        width = state["visual.positional_embedding"].shape[1]
        self.visual.conv1 = torch.nn.Conv2d(3, width, 16, 16, bias=False)
        self.visual.positional_embedding = torch.nn.Parameter(state["visual.positional_embedding"])
        self.visual.input_resolution = 64
"""

_DASSL = {
    "dassl/__init__.py": "",
    "dassl/config/__init__.py": (
        """
from yacs.config import CfgNode as CN


def get_cfg_default():
    cfg = CN()
    cfg.SEED, cfg.OUTPUT_DIR, cfg.TRAINER = -1, "", CN({"NAME": ""})
    cfg.INPUT = CN({"SIZE": (64, 64)})
    cfg.MODEL = CN({"BACKBONE": CN({"NAME": "ViT-B/16"})})
    cfg.DATASET = CN({"NAME": ""})
    return cfg
"""
    ),
    "dassl/engine/__init__.py": (
        """
class Registry(dict):
    def registered_names(self):
        return list(self)

    def get(self, name):
        return self[name]

    def register(self, found=None):
        if found is None:
            return self.register
        self[found.__name__] = found
        return found


TRAINER_REGISTRY = Registry()


class TrainerBase:
    def __init__(self, cfg=None):
        self.cfg = cfg


def build_trainer(cfg):
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)(cfg)
"""
    ),
    "dassl/data/__init__.py": "",
    "dassl/data/datasets/__init__.py": (
        """
from dassl.engine import Registry

DATASET_REGISTRY = Registry()


class DatasetBase:
    pass


class Datum:
    pass
"""
    ),
}

FILES = {
    **_DASSL,
    "train.py": (
        """
from dassl.config import get_cfg_default
import trainers.coop


def setup_cfg(args):
    cfg = get_cfg_default()
    cfg.TRAINER.NAME, cfg.SEED = args.trainer, args.seed
    cfg.merge_from_list(args.opts)
    return cfg


def main(args):
    return setup_cfg(args)
"""
    ),
    "trainers/__init__.py": "",
    "trainers/coop.py": _TRAINER,
    "datasets/__init__.py": "",
    "clip/__init__.py": "from clip.clip import tokenize\n",
    "clip/clip.py": _CLIP,
}


def write_host(root: Path, changes: Mapping[str, str | None] | None = None) -> Path:
    """Write the host below `root`; `changes` replace a file's text, None leaves the file out."""
    for name, text in {**FILES, **(changes or {})}.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root
