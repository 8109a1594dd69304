"""What the command line and the environment ask for, checked before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loreal_plugin.errors import ConfigError, DataError, HostError, LorealError
from loreal_plugin.paths import bundle_root, cache_root, embedded_host
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.runs.spec import REACH, Override, build_spec, parse_overrides


def test_defaults_are_the_demo_on_the_embedded_host() -> None:
    spec = build_spec("maple", "96", env={})
    assert (spec.dataset, spec.seed, spec.shots, spec.weights, spec.recipe) == (
        "demo",
        1,
        16,
        "demo",
        "demo",
    )
    assert (spec.host, spec.data) == (embedded_host(), cache_root())
    assert spec.out == Path("output").resolve()


def test_environment_is_read_and_arguments_win(tmp_path: Path) -> None:
    env = {"DATA": str(tmp_path), "OUT": "from-env", "SHOTS": "4", "CLIP_WEIGHTS": "demo-2"}
    spec = build_spec("CoOp", "48", "dtd", "3", shots="8", env=env)
    assert (spec.method, spec.shots, spec.out.name, spec.weights) == (
        "coop",
        8,
        "from-env",
        "demo-2",
    )
    assert spec.data == tmp_path


@pytest.mark.parametrize(
    "weights, recipe", [("demo-2", "demo"), ("ViT-B/16", "vit_b16"), ("my.pt", "vit_b16")]
)
def test_recipe_follows_the_weights(weights: str, recipe: str) -> None:
    assert build_spec("mma", "96", weights=weights, env={}).recipe == recipe
    assert build_spec("mma", "96", weights=weights, recipe="own", env={}).recipe == "own"


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        (("mapel", "96"), ConfigError, "did you mean 'maple'"),
        (("maple", "ninety"), ConfigError, "PHI must be a whole number"),
        (("maple", "-96"), ConfigError, "PHI must be a whole number"),
        (("maple", "96", "demo", "one"), ConfigError, "SEED must be a whole number"),
        (("maple", "96", "demo", "1.5"), ConfigError, "SEED must be a whole number"),
        (("maple", "96", "caltech101"), DataError, "needs DATA"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: tuple[str, ...], error: type[LorealError], text: str
) -> None:
    with pytest.raises(error, match=text):
        build_spec(*arguments, env={})


def test_wrong_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SHOTS must be a whole number of at least 1, not '0'"):
        build_spec("maple", "96", env={"SHOTS": "0"})
    with pytest.raises(DataError, match="is no folder"):
        build_spec("maple", "96", "dtd", env={"DATA": str(tmp_path / "missing")})
    with pytest.raises(HostError, match="has no train.py"):
        build_spec("maple", "96", env={"HOST": str(tmp_path)})


def test_override_scopes() -> None:
    found = parse_overrides(
        ["OPTIM.LR", "0.1", "host:OPTIM.MAX_EPOCH", "2", "TRAINER.LOREAL.BRIDGE", "self"]
    )
    assert found == (
        Override("all", "OPTIM.LR", "0.1"),
        Override("host", "OPTIM.MAX_EPOCH", "2"),
        Override("loreal", "TRAINER.LOREAL.BRIDGE", "self"),
    )
    spec = build_spec(
        "maple", "96", opts=["OPTIM.LR", "0.1", "host:A.B", "2", "loreal:C.D", "3"], env={}
    )
    assert [o.key for o in spec.overrides_for("alpha")] == ["OPTIM.LR", "A.B"]
    assert [o.key for o in spec.overrides_for("loreal")] == ["OPTIM.LR", "C.D"]


@pytest.mark.parametrize(
    "words, text",
    [
        (["OPTIM.LR"], "'OPTIM.LR' has no value"),
        (["hots:OPTIM.LR", "1"], "did you mean 'host'"),
        (["DATASET.NUM_SHOTS", "4"], "it is set by SHOTS"),
        (["TRAINER.LOREAL.PHI", "64"], "it is set by the argument PHI"),
    ],
)
def test_wrong_overrides_are_named(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_overrides(words)


@pytest.mark.parametrize("scope", [scope for scope in REACH if scope != "all"])
def test_help_and_page_say_which_stages_a_scope_reaches(scope: str) -> None:
    page = (bundle_root() / "docs" / "RUNS.md").read_text(encoding="utf-8")
    for text in (BASE2NEW.notes, page.replace("`", "").split("### Which stages")[1]):
        (line,) = [line for line in text.splitlines() if f"{scope}:KEY" in line]
        told = line.split(f"{scope}:KEY")[1]
        assert [stage for stage in REACH[scope] if stage not in told] == []
