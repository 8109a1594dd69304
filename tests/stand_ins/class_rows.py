"""A trainer whose text encoder gets rows that differ from class to class, with its row outside.

Written as files: `trainers/classrows.py` of a host, and a package with the row, its trainer and
CoOp's recipes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from loreal_plugin.contract import get_contract
from stand_ins import write_host

ROOT = Path(__file__).resolve().parents[2]
METHOD, PACKAGE = "classrows", "loreal_classrows"
_TRAINER = '''"""ClassRows: CoOp, and two rows of each class before text block 1."""

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import nn
from trainers._clip import load_clip_to_cpu
from trainers._encoders import run_blocks, unit
from trainers.coop import CoOp, CustomCLIP


class ClassRowsCLIP(CustomCLIP):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__(cfg, classnames, clip_model)
        width = self.prompt_learner.ctx.shape[-1]
        self.prompt_learner.class_rows = nn.Linear(width, 2 * width)

    def rows(self):
        names = self.prompt_learner.token_suffix.mean(1)
        made = self.prompt_learner.class_rows(names.float())
        return made.unflatten(-1, (2, -1)).to(self.dtype)  # (C, 2, D_t)

    def encode(self, prompts, tokens, classes):
        rows, encoder = self.rows()[classes].transpose(0, 1), self.text_encoder

        def enter(index, x):
            return torch.cat([x[:1], rows, x[1:]]) if index == 1 else x

        x = (prompts + encoder.positional_embedding).type(self.dtype)
        x = run_blocks(encoder.transformer.resblocks, x, causal=True, enter=enter)
        x = encoder.ln_final(x).type(self.dtype)
        return x[torch.arange(len(x)), tokens.argmax(-1) + 2] @ encoder.text_projection

    def forward(self, image):
        learner = self.prompt_learner
        text = self.encode(learner(), self.tokenized_prompts, torch.arange(learner.n_cls))
        features = unit(self.image_encoder(image.type(self.dtype)))
        return self.logit_scale.exp() * features @ unit(text).t()


@TRAINER_REGISTRY.register()
class ClassRows(CoOp):
    def load_clip(self):
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        return ClassRowsCLIP(self.cfg, classnames, clip_model)
'''
_ROW = '''"""ClassRows for LOREAL."""

import torch

from loreal_plugin.contract.coop import CoOpContract


class ClassRowsContract(CoOpContract):
    """Source: the host's trainers/classrows.py."""

    method, title, colour = "classrows", "ClassRows", "tab:olive"
    trainer, loreal_trainer, module = "ClassRows", "ClassRows_LOREAL", "classrows"
    parts = {"rows of classes": "prompt_learner.class_rows"}

    def encode_classes(self, model, embeddings, tokens, classes):
        """Return text features (N, D_v) with the rows of these classes."""
        return model.encode(embeddings, tokens.to(embeddings.device), classes)

    def block_parts(self, model, cfg):
        """Return `enter_class`: two rows come in before block 1."""
        with torch.no_grad():
            rows = model.rows()

        def enter_class(index, x, classes):
            return torch.cat([x[:, :1], rows[classes].to(x), x[:, 1:]], 1) if index == 1 else x

        return {"enter_class": enter_class}


ROWS = (ClassRowsContract,)
'''
_OURS = '''"""ClassRows with LOREAL."""

from dassl.engine import TRAINER_REGISTRY
from trainers.classrows import ClassRows

from loreal_plugin.trainer import LorealMixin


@TRAINER_REGISTRY.register()
class ClassRows_LOREAL(LorealMixin, ClassRows):
    """The host's trainer behind `LorealMixin`."""
'''


def write_class_rows(root: Path) -> Path:
    """Write the package into `root`, which is on the path and in LOREAL_HOSTS, and a host with its
    trainer into `root/host`, returned.
    """
    package = root / PACKAGE
    (package / "trainers").mkdir(parents=True)
    (package / "__init__.py").write_text(_ROW, encoding="utf-8")
    (package / "trainers" / "classrows_loreal.py").write_text(_OURS, encoding="utf-8")
    recipes = ROOT / "configs" / "trainers" / "CoOp_LOREAL"
    shutil.copytree(recipes, package / "configs" / "trainers" / "ClassRows_LOREAL")
    return write_host(root / "host", {get_contract(METHOD): _TRAINER})
