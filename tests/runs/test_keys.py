"""Stage keys: what changes a stage changes its key, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.keys import images_digest, stage_config, stage_key

CFG = {
    "OUTPUT_DIR": "a",
    "SEED": 1,
    "INPUT": {"SIZE": (224, 224)},
    "OPTIM": {"LR": 0.1},
    "DATASET": {"ROOT": "r", "NUM_SHOTS": 16},
    "TRAIN": {"PRINT_FREQ": 5},
    "MODEL": {"BACKBONE": {"NAME": "demo"}},
    "TRAINER": {
        "NAME": "MaPLe",
        "MAPLE": {"N_CTX": 2},
        "COOP": {"N_CTX": 4},
        "LOREAL": {"PHI": 96, "ALPHA_DIR": "x"},
    },
}
FACTS: dict[str, Any] = {"weights": "w", "images": "i", "host": "h"}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return CFG with one value replaced."""
    names = path.split(".")

    def replace(node: dict[str, Any], rest: list[str]) -> dict[str, Any]:
        new = value if len(rest) == 1 else replace(node[rest[0]], rest[1:])
        return {**node, rest[0]: new}

    return replace(CFG, names)


def key(cfg: dict[str, Any], *, loreal: bool, **facts: Any) -> str:
    return stage_key(stage_config(cfg, host_node="MAPLE", loreal=loreal), **(FACTS | facts))


@pytest.mark.parametrize(
    "path, value",
    [
        ("SEED", 2),
        ("OPTIM.LR", 0.2),
        ("INPUT.SIZE", (96, 96)),
        ("DATASET.NUM_SHOTS", 4),
        ("TRAINER.MAPLE.N_CTX", 3),
    ],
)
@pytest.mark.parametrize("loreal", [False, True])
def test_a_setting_changes_every_stage_key(path: str, value: Any, loreal: bool) -> None:
    assert key(changed(path, value), loreal=loreal) != key(CFG, loreal=loreal)


@pytest.mark.parametrize(
    "path, value",
    [
        ("OUTPUT_DIR", "b"),
        ("DATASET.ROOT", "s"),
        ("TRAIN.PRINT_FREQ", 1),
        ("MODEL.BACKBONE.NAME", "a/file.pt"),
        ("TRAINER.COOP.N_CTX", 16),
        ("TRAINER.LOREAL.ALPHA_DIR", "y"),
    ],
)
def test_places_and_other_methods_do_not_change_a_key(path: str, value: Any) -> None:
    for loreal in (False, True):
        assert key(changed(path, value), loreal=loreal) == key(CFG, loreal=loreal)


def test_host_stages_know_no_loreal_key() -> None:
    other = changed("TRAINER.LOREAL.PHI", 144)
    assert key(other, loreal=False) == key(CFG, loreal=False)
    assert key(other, loreal=True) != key(CFG, loreal=True)


@pytest.mark.parametrize(
    "fact",
    [
        {"weights": "v"},
        {"images": "j"},
        {"host": "k"},
        {"parents": {"alpha": "1"}},
        {"attributes": ["color"]},
    ],
)
def test_facts_outside_the_config_change_the_key(fact: dict[str, Any]) -> None:
    assert key(CFG, loreal=True, **fact) != key(CFG, loreal=True)


def test_order_of_settings_does_not_matter() -> None:
    turned = dict(reversed(CFG.items()))
    assert key(turned, loreal=True) == key(CFG, loreal=True)


def dataset(root: Path, names: list[str], label: int = 0) -> SimpleNamespace:
    items = [
        SimpleNamespace(impath=str(root / name), label=label, classname="cat") for name in names
    ]
    return SimpleNamespace(train_x=items[:1], val=None, test=items[1:])


def contents(path: str) -> str:
    return Path(path).read_bytes().hex()


def test_image_list_digest_follows_names_labels_and_contents_but_not_the_place(
    tmp_path: Path,
) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for name in ("1.png", "2.png", "3.png"):
            (tmp_path / place / name).write_bytes(b"x" * 10)
    first = images_digest(dataset(tmp_path / "a", ["1.png", "2.png"]), contents)
    assert images_digest(dataset(tmp_path / "b", ["1.png", "2.png"]), contents) == first
    assert images_digest(dataset(tmp_path / "a", ["1.png", "3.png"]), contents) != first
    assert images_digest(dataset(tmp_path / "a", ["1.png", "2.png"], label=1), contents) != first
    (tmp_path / "a" / "2.png").write_bytes(b"y" * 10)
    assert images_digest(dataset(tmp_path / "a", ["1.png", "2.png"]), contents) != first, (
        "same size, other picture"
    )


@pytest.mark.parametrize("place, code", [("/hosts/MaPLe", "MaPLe@r1 a b"), (None, "embedded")])
def test_keys_know_a_strangers_shims_in_any_order(place: str | None, code: str) -> None:
    for shims in (("a", "b"), ("b", "a")):
        host = SimpleNamespace(
            path=Path(place) if place else embedded_host(), revision="r1", shims=shims
        )
        facts = Identity(host, None, {}, "w").host_facts()
        assert (facts["code"], facts["shims"]) == (code, ["a", "b"])


def test_of_a_row_from_outside_every_node_counts_but_that_of_loreal() -> None:
    def outside(cfg: dict[str, Any]) -> str:
        return stage_key(stage_config(cfg, host_node=None, loreal=False), **FACTS)

    other = {**CFG, "TRAINER": {**CFG["TRAINER"], "HEADS": {"WEIGHT": 0.5}}}
    assert key(other, loreal=False) == key(CFG, loreal=False)
    assert outside(other) != outside(CFG)
    named = {**other, "TRAINER": {**other["TRAINER"], "LOREAL": {"ALPHA": 3}}}
    assert outside(named) == outside(other)
