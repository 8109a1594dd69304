"""A trainer with what DePT, KgCoOp and CoPrompt have beside CoOp, with its row outside.

A linear head over the trained classes, which a model of other classes lacks; an adapter behind the
text encoder; tensors that are drawn in each build and never read; a node of settings beside its
own; a module at the root of its checkout; a file opened by a relative path; settings by the data
set, after `clean_cfg`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from loreal_plugin.contract import get_contract
from stand_ins import write_host

ROOT = Path(__file__).resolve().parents[2]
METHOD, PACKAGE = "heads", "loreal_heads"
_TRAINER = '''"""Heads: CoOp with a linear head over the trained classes and an adapter of text."""

import json

import torch
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import load_checkpoint
from head_parts.scaling import Scaling
from torch import nn
from trainers._clip import load_clip_to_cpu
from trainers._encoders import unit
from trainers.coop import CoOp, CustomCLIP


class HeadsCLIP(CustomCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        width = clip_model.text_projection.shape[1]
        self.adapter, self.scaling = nn.Linear(width, width), Scaling(width)
        self.left_over = nn.Linear(3, 3).requires_grad_(False)
        self.weight = cfg.TRAINER.HEADS.WEIGHT
        with open("head_texts/words.json") as file:
            self.words = json.load(file)
        trained = cfg.DATASET.SUBSAMPLE_CLASSES == "base"
        self.head = nn.Linear(width, len(classnames)) if trained else nn.Identity()

    def forward(self, image):
        text = self.adapter(self.text_encoder(self.prompt_learner(), self.tokenized_prompts))
        feature = self.image_encoder(image.type(self.dtype))
        of_text = self.logit_scale.exp() * unit(feature) @ unit(text).t()
        if isinstance(self.head, nn.Identity):
            return of_text
        return (1 - self.weight) * of_text + self.weight * self.head(self.scaling(feature))


@TRAINER_REGISTRY.register()
class Heads(CoOp):
    def load_clip(self):
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        return HeadsCLIP(self.cfg, classnames, clip_model)

    def learner(self):
        return self.model

    def load_model(self, directory, epoch=None):
        path = f"{directory}/{self.registered}/model.pth.tar-{epoch}"
        state = load_checkpoint(path)["state_dict"]
        kept = {name: value for name, value in state.items() if "token_" not in name}
        self.model.load_state_dict(kept, strict=False)
'''
_SCALING = """import torch
from torch import nn


class Scaling(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.scale * x
"""
_SETUP = """

extend_cfg_of_family = extend_cfg
_setup_of_family = setup_cfg


def extend_cfg(cfg):
    from dassl.config import clean_cfg

    clean_cfg(cfg, "COOP")
    extend_cfg_of_family(cfg)
    cfg.TRAINER.HEADS = CfgNode({"WEIGHT": 0.5})


def setup_cfg(args):
    cfg = _setup_of_family(args)
    if not cfg.DATASET.NAME:
        raise AssertionError("this host looks settings up by data set")
    return cfg
"""
ROW = '''"""Heads for LOREAL."""

import torch
import torch.nn.functional as F

from loreal_plugin.contract.coop import CoOpContract


class HeadsContract(CoOpContract):
    """Source: the host's trainers/heads.py."""

    method, title, colour = "heads", "Heads", "tab:olive"
    trainer, loreal_trainer, module = "Heads", "Heads_LOREAL", "heads"
    whole_model, n_features = True, 2
    unused = ("left_over",)
    of_trained_classes = ("head",)
    parts = CoOpContract.parts | {"head": "head", "adapter": "adapter.weight"}

    def encode_text(self, model, embeddings, tokens):
        """Return text features (N, D_v) behind the adapter."""
        return model.adapter(super().encode_text(model, embeddings, tokens))

    def block_parts(self, model, cfg):
        """Return `after`: the adapter."""
        return {"after": model.adapter}

    def encode_image(self, model, images):
        """Return the normalised feature and what the head reads, (B, 2, D_v)."""
        feature = model.image_encoder(images.type(model.dtype))
        return torch.stack([F.normalize(feature, dim=-1), model.scaling(feature)], dim=1)

    def logits(self, model, features, text_features, fusion=False):
        """Return logits (B, C): mixed with those of the head, where it is."""
        of_text = super().logits(model, features[:, :1], text_features)
        if not isinstance(model.head, torch.nn.Linear):
            return of_text
        return (1 - model.weight) * of_text + model.weight * model.head(features[:, 1])


ROWS = (HeadsContract,)
'''
_OURS = '''"""Heads with LOREAL."""

from dassl.engine import TRAINER_REGISTRY
from trainers.heads import Heads

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class Heads_LOREAL(LorealMixin, Heads):
    """The host's trainer behind `LorealMixin`."""
'''


def write_row(root: Path, source: str = ROW) -> None:
    """Write the package of the row into `root`, which is on the path and in LOREAL_HOSTS."""
    package = root / PACKAGE
    (package / "trainers").mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(source, encoding="utf-8")
    (package / "trainers" / "heads_loreal.py").write_text(_OURS, encoding="utf-8")
    recipes = ROOT / "configs" / "trainers" / "CoOp_LOREAL"
    shutil.copytree(recipes, package / "configs" / "trainers" / "Heads_LOREAL", dirs_exist_ok=True)


def write_heads_host(root: Path) -> Path:
    """Write a host with the trainer of the row, which is known by now, to `root`; return it."""
    write_host(root, {get_contract(METHOD): _TRAINER})
    train = root / "train.py"
    body, main = train.read_text(encoding="utf-8").split("\n\ndef main(")
    train.write_text(f"{body}{_SETUP}\n\ndef main({main}", encoding="utf-8")
    (root / "head_parts").mkdir()  # a folder without __init__.py
    (root / "head_parts" / "scaling.py").write_text(_SCALING, encoding="utf-8")
    (root / "head_texts").mkdir()
    (root / "head_texts" / "words.json").write_text('["round"]', encoding="utf-8")
    return root
