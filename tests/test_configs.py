"""Every shipped YAML says what it is for, loads through the host, and fits its neighbours."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from stand_ins import EXTRA_METHODS
from tiny_hosts import METHODS

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.options import resolve_options
from loreal_plugin.students.views import build_recipe
from loreal_plugin.weights import describe, load_clip_state_dict

ROOT = Path(__file__).parents[1] / "configs"
TRAINERS = sorted((ROOT / "trainers").rglob("*.yaml"))
DATASETS = sorted((ROOT / "datasets").rglob("*.yaml"))
IDS = [f"{p.parent.name}-{p.stem}" for p in TRAINERS]


def contract_of(path: Path):
    return next(c for c in CONTRACTS.values() if c.loreal_trainer == path.parent.name)


def test_every_method_has_its_four_files():
    expected = {
        f"{c.loreal_trainer}-{n}"
        for c in CONTRACTS.values()
        for n in ("demo", "vit_b16", "host_demo", "host_vit_b16")
    }
    assert set(IDS) >= expected


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.stem)
def test_head_of_a_dataset_says_command_and_result(path):
    head = [
        line for line in path.read_text().split("DATASET:")[0].splitlines() if line.startswith("#")
    ]
    (command,) = [line for line in head if line.startswith("# Command: ")]
    assert any(
        words in command
        for words in ("base2new_train.sh maple 96", "xd.sh maple 96", "dg.sh maple 96")
    )
    assert {"demo": "train.sh maple 96", "folder": "FOLDER"}.get(path.stem, path.stem) in command
    assert len([line for line in head if line.startswith("# Result: ")]) == 1


@pytest.mark.parametrize("path", TRAINERS, ids=IDS)
def test_head_says_command_and_result(path):
    head = [line for line in path.read_text().splitlines()[:6] if line.startswith("#")]
    assert any(line.startswith("# Command: bash scripts/loreal/") for line in head)
    assert any(line.startswith("# Result: ") for line in head)


@pytest.mark.parametrize(
    "path",
    [p for p in TRAINERS if not p.stem.startswith("host_")],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_stage_3_builds_its_students_as_the_host_stages_did(path):
    node = contract_of(path).cfg_node
    ours = yaml.safe_load(path.read_text())
    host = yaml.safe_load(path.with_name(f"host_{path.name}").read_text())
    assert ours["TRAINER"][node] == host["TRAINER"][node]
    assert ours["INPUT"] == host["INPUT"] and ours["MODEL"] == host["MODEL"]
    assert "LOREAL" not in host["TRAINER"]
    assert resolve_options(ours["TRAINER"]["LOREAL"]).enabled


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CoOp_LOREAL", ("sgd", 0.002, 50, 32)),
        ("MaPLe_LOREAL", ("sgd", 0.0035, 5, 4)),
        ("MMA_LOREAL", ("sgd", 0.0015, 5, 16)),
        ("MMRL_LOREAL", ("adamw", 0.001, 10, 4)),
        ("CoCoOp_LOREAL", ("sgd", 0.002, 10, 1)),
        ("IVLP_LOREAL", ("sgd", 0.0035, 5, 4)),
    ],
)
def test_host_recipes_have_the_published_values(name, expected):
    cfg = yaml.safe_load((ROOT / "trainers" / name / "host_vit_b16.yaml").read_text())
    optim = cfg["OPTIM"]
    batch = cfg["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"]
    assert (optim["NAME"], optim["LR"], optim["MAX_EPOCH"], batch) == expected


def test_every_method_is_tested_on_some_host():
    assert sorted(METHODS + EXTRA_METHODS) == sorted(CONTRACTS)


@pytest.mark.parametrize(
    "path",
    [p for p in TRAINERS if contract_of(p).method in METHODS],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_recipe_loads_through_the_hosts_own_setup_cfg(embedded, path):
    assert_recipe_loads(embedded, path)


@pytest.mark.parametrize("path", DATASETS, ids=[p.stem for p in DATASETS])
def test_dataset_config_names_a_registered_dataset(embedded, path):
    recipe = ROOT / "trainers" / "CoOp_LOREAL" / "host_demo.yaml"
    argv = ["--trainer", "CoOp", "--dataset-config-file", str(path), "--config-file", str(recipe)]
    cfg = embedded("coop").setup_cfg(argv)
    registry = importlib.import_module("dassl.data.datasets").DATASET_REGISTRY
    assert cfg.DATASET.NAME in registry.registered_names()


@pytest.mark.parametrize(
    "path",
    [p for p in TRAINERS if contract_of(p).method in EXTRA_METHODS],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_recipe_of_the_other_rows_loads_where_the_trainer_is(stand_in, path):
    assert_recipe_loads(stand_in, path)


def assert_recipe_loads(attach, path):
    contract = contract_of(path)
    host_stage = path.stem.startswith("host_")
    trainer = contract.trainer if host_stage else contract.loreal_trainer
    dataset = ROOT / "datasets" / "caltech101.yaml"
    argv = ["--trainer", trainer, "--dataset-config-file", str(dataset), "--config-file", str(path)]
    cfg = attach(contract.method).setup_cfg(argv)
    written = yaml.safe_load(path.read_text())
    assert (cfg.TRAINER.NAME, cfg.DATASET.NAME) == (trainer, "Caltech101")
    assert tuple(cfg.INPUT.SIZE) == (224, 224) and cfg.OPTIM.LR == written["OPTIM"]["LR"]
    node = written["TRAINER"][contract.cfg_node]
    assert {key: cfg.TRAINER[contract.cfg_node][key] for key in node} == node
    assert build_recipe(cfg).interpolation == "bicubic"
    preset = "authors" if path.stem == "authors" else "default"
    assert resolve_options(cfg.TRAINER.LOREAL).preset == preset


def test_students_of_the_authors_recipe_are_those_of_their_preset():
    node = yaml.safe_load((ROOT / "trainers" / "CoOp_LOREAL" / "authors.yaml").read_text())
    theirs = CONTRACTS["coop"].authors_options
    assert theirs == {"CTX_INIT": "", "N_CTX": 16}
    assert {key: node["TRAINER"]["COOP"][key] for key in theirs} == theirs


@pytest.mark.parametrize("method", sorted(CONTRACTS))
def test_demo_layers_lie_within_the_demo_clip(method):
    contract = CONTRACTS[method]
    node = yaml.safe_load((ROOT / "trainers" / contract.loreal_trainer / "demo.yaml").read_text())[
        "TRAINER"
    ]
    node = node[contract.cfg_node]
    depth = describe(load_clip_state_dict("demo"))["layers"]
    layers = {
        "maple": [node.get("PROMPT_DEPTH", 1)],
        "mmrl": node.get("REP_LAYERS", []),
        "mma": [node.get("ADAPTER_START", 1), node.get("ADAPTER_END", 1)],
        "coop": [1],
        "cocoop": [1],
        "ivlp": [node.get("PROMPT_DEPTH_VISION", 1), node.get("PROMPT_DEPTH_TEXT", 1)],
    }[method]
    assert layers and all(1 <= layer <= depth for layer in layers)
    assert node["PREC"] == "fp32"
