"""Hosts for tests: the embedded one, with a trainer for each row that is asked for.

What a row says is taken from the row: the trainer's name, its file, its node with the keys of its
recipes, the registered model. A trainer that differs from CoOp inside its model is written out in a
file of this folder, under the name of its module; every other one is made here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import tiny_image_folder

from loreal_plugin.contract import HostContract

EXTRA_METHODS = ("cocoop", "ivlp")
_EMBEDDED = Path(__file__).resolve().parents[2] / "hosts" / "embedded"
_LAST_MODULE, _FIRST_SECTION = '    "trainers.mmrl",\n', "TRAINER_SECTIONS = {\n"
_TRAINER = '''"""{trainer}: CoOp under the names of a row."""

from dassl.engine import TRAINER_REGISTRY
from trainers import coop
from trainers._clip import load_clip_to_cpu


class CustomCLIP(coop.CustomCLIP):
    @property
    def {learner}(self):
        return self._modules["prompt_learner"]


@TRAINER_REGISTRY.register()
class {trainer}(coop.CoOp):
    node = "{cfg_node}"
    registered = "{checkpoint}"

    def load_clip(self):
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        cfg = self.cfg.clone()
        cfg.defrost()
        own = cfg.TRAINER[self.node]
        cfg.TRAINER.COOP.update({{key: own[key] for key in ("CTX_INIT", "N_CTX") if key in own}})
        return CustomCLIP(cfg, classnames, clip_model)

    def learner(self):
        return self.model if {whole_model} else self.model.prompt_learner
'''


def write_host(root: Path, rows: Mapping[HostContract, str | None]) -> Path:
    """Copy the embedded host to `root` and give it a trainer for each row; return `root`.

    Args:
        rows: row -> source of its trainer's file; None: a file of this folder, or CoOp under the
            row's names.
    """
    shutil.copytree(_EMBEDDED, root, ignore=shutil.ignore_patterns("__pycache__"))
    train = root / "train.py"
    text = train.read_text(encoding="utf-8")
    for row, source in rows.items():
        written = Path(__file__).with_name(f"{row.module}.py")
        if source is None:
            source = written.read_text(encoding="utf-8") if written.is_file() else made_trainer(row)
        (root / "trainers" / f"{row.module}.py").write_text(source, encoding="utf-8")
        text = text.replace(_LAST_MODULE, f'{_LAST_MODULE}    "trainers.{row.module}",\n')
        if f'    "{row.cfg_node}": {{' not in text:
            text = text.replace(
                _FIRST_SECTION, f'{_FIRST_SECTION}    "{row.cfg_node}": {node_of(row)!r},\n'
            )
    train.write_text(text, encoding="utf-8")
    return root


def made_trainer(row: HostContract) -> str:
    """Return the source of a trainer that is CoOp under the names that a row looks for."""
    names = ("trainer", "cfg_node", "checkpoint", "learner", "whole_model")
    return _TRAINER.format(**{name: getattr(row, name) for name in names})


def node_of(row: HostContract) -> dict[str, Any]:
    """Return the keys of a row's node, with the values of its first recipe as defaults."""
    recipe = sorted(row.recipes.glob("host_*.yaml"))[0]
    return yaml.safe_load(recipe.read_text(encoding="utf-8"))["TRAINER"][row.cfg_node]


def write_stand_in_host(root: Path) -> Path:
    """Copy the embedded host to `root` and give it trainers `CoCoOp` and `IVLP`; return `root`."""
    from loreal_plugin.contract import CONTRACTS

    return write_host(root, {CONTRACTS[method]: None for method in EXTRA_METHODS})


def short_run(
    method: str, host: Path, folder: Path, clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return the command line of a short run of the published stages; pictures and variables are
    set up in `folder`.
    """
    tiny_image_folder(folder / "data" / "pics", classes=4, per_class=4)
    given = {"DATA": folder / "data", "CLIP_WEIGHTS": clip_file, "HOST": host, "SHOTS": 2}
    given |= {"OUT": folder / "out", "LOREAL_CACHE": folder / "cache", "RECIPE": "demo"}
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    return ["base2new", method, "32", "pics", "--until", "loreal", "--", "OPTIM.MAX_EPOCH", "1"]
