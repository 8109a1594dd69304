"""Timing in turns, memory of a call, the record of a cell; no test looks at a duration."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from stand_ins import write_stand_in_host
from tiny_hosts import METHODS

from loreal_plugin.bench.cells import (
    Cell,
    cell_of,
    methods_to_compare,
    orders_of,
    plan,
)
from loreal_plugin.bench.measure_cell import cold_of, measure
from loreal_plugin.bench.memory import peak_of
from loreal_plugin.bench.predictions import build_prediction, margin_for, slim
from loreal_plugin.bench.sizes import SIZES, class_names, get_size, random_state_dict
from loreal_plugin.bench.variant_calls import build_variant
from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.modes import contenders
from loreal_plugin.inference_modes import MODES
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.timing import interleave, ratios, spread
from loreal_plugin.weights.clip_layout import checked_weights, describe

CPU = torch.device("cpu")


def test_variants_are_called_in_turns_starting_with_another_one_each_round(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("loreal_plugin.runs.timing.SHORTEST", 0.0)
    seen: list[str] = []
    variants = {name: lambda name=name: seen.append(name) for name in "abc"}
    samples = interleave(variants, rounds=4, budget_s=100, device=CPU)
    assert "".join(seen) == "aabbcc" + "abc" + "bca" + "cab" + "abc"
    assert {name: (len(s["wall"]), len(s["cpu"])) for name, s in samples.items()} == dict.fromkeys(
        "abc", (4, 4)
    )


def test_without_warm_up_every_call_is_a_sample():
    seen: list[str] = []
    variants = {name: lambda name=name: seen.append(name) for name in "ab"}
    interleave(variants, rounds=2, budget_s=9, device=CPU, cold="a")
    assert seen.count("a") == 2 < seen.count("b")


def test_a_spent_budget_still_gives_three_rounds():
    samples = interleave({"a": lambda: None}, rounds=9, budget_s=0, device=CPU)
    assert len(samples["a"]["wall"]) == 3


def test_spread_and_ratios_are_of_pairs():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "q1": 1.0, "q3": 3.0, "min": 1.0, "n": 3}
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0])["q1"] == 2.0
    samples = {"slow": {"wall": [10.0, 40.0, 90.0]}, "fast": {"wall": [1.0, 2.0, 3.0]}}
    assert ratios(samples, "slow", "fast")["median"] == 20.0  # of 10, 20, 30; not of the medians


def test_peak_memory_sees_what_a_call_holds_for_a_moment():
    def call() -> None:
        torch.ones(64 * 2**20 // 4).sum()

    found = peak_of(call, CPU)
    assert 56 < found["peak_mib"] - found["held_mib"] < 160
    assert peak_of(lambda: None, CPU)["peak_mib"] - found["held_mib"] < 32
    assert found["how"] in ("high-water mark", "sampled")


@pytest.mark.parametrize("name", sorted(SIZES))
def test_random_weights_are_a_clip_of_that_size(name: str):
    size = get_size(name)
    if name == "tiny":  # the other one is 150 million numbers
        assert describe(checked_weights(random_state_dict(size), name)) | size.facts == describe(
            random_state_dict(size)
        )
    assert size.native == max(size.phis) and all(
        phi % size.facts["patch"] == 0 for phi in size.phis
    )


def test_class_names_are_real_and_limited():
    assert len(set(class_names(1000))) > 990
    with pytest.raises(ConfigError, match="1001 classes were asked for"):
        class_names(1001)


def test_without_a_choice_the_methods_of_the_host_that_can_be_compared_are_measured(tmp_path):
    assert methods_to_compare(embedded_host()) == list(METHODS)
    host = write_stand_in_host(tmp_path / "host")  # has CoCoOp and IVLP, too
    assert methods_to_compare(host) == ["coop", "ivlp", "maple", "mma", "mmrl"]


def test_plan_covers_the_table_and_both_comparisons():
    size = get_size("vit_b16")
    cells = plan(size, METHODS, size.phis)
    assert len({cell.id for cell in cells}) == len(cells)
    table = {(c.method, c.phi, c.batch) for c in cells if c.kind == "infer" and c.n_classes == 100}
    assert {(m, phi, b) for m in METHODS for phi in (96, 144, 192, 224) for b in (1, 32)} <= table
    assert {c.n_classes for c in cells if c.kind == "train"} == {10, 50, 100, 1000}
    assert {c.method for c in cells if c.kind == "versus-train"} == set(METHODS)
    assert all(len(c.variants) == 1 for c in cells if c.kind.startswith("memory"))
    assert all(cell_of(cell.as_dict()) == cell for cell in cells)
    modes = {
        v.partition(":")[0].partition("@")[0]
        for c in cells
        if c.kind == "infer"
        for v in c.variants
    }
    assert modes == {"host", *MODES}


def test_orders_are_those_that_the_contracts_allow():
    assert {method: orders_of(method) for method in ("coop", "maple")} == {
        "coop": ("class_first", "slots_first"),
        "maple": ("class_first",),  # its deep prompts would overwrite the slots
    }


@pytest.mark.parametrize(
    "cell",
    [
        Cell(
            "train",
            "mmrl",
            32,
            6,
            2,
            ("host", "cached:class_first", "uncached:class_first"),
            size="tiny",
        ),
        Cell("infer", "maple", 32, 6, 2, ("host", "exact:class_first"), size="tiny"),
        Cell(
            "versus-train",
            "mma",
            32,
            6,
            2,
            ("published", "cached:class_first", "cached:slots_first"),
            size="tiny",
        ),
        Cell("versus-infer", "coop", 32, 6, 2, ("published", "exact:class_first"), size="tiny"),
        Cell("image", "coop", 64, 6, 2, ("phi32", "phi64"), size="tiny"),
        Cell("adapted", "mmrl", 32, 6, 2, ("host", "adapted"), size="tiny"),
        Cell("memory-infer", "coop", 32, 6, 2, ("host",), size="tiny"),
    ],
    ids=lambda cell: cell.kind,
)
def test_a_cell_gives_a_record_with_all_its_variants(cell_models, cell: Cell):
    record = measure(cell, embedded_host(), rounds=1, budget_s=0)
    found = record["memory"] if cell.kind.startswith("memory") else record["samples"]
    assert set(found) == set(cell.variants)
    assert cell_of(record["cell"]) == cell
    assert (
        record["where"]["versions"]["torch"] == torch.__version__.split("+")[0]
        and record["where"]["threads"] == 1
    )
    if cell.kind == "train":
        assert record["facts"]["loreal_parameters"] == 5 * (32 * 128 + 32 + 64)
        assert record["facts"]["host_parameters"] > 0
    if cell.kind == "adapted":
        assert record["facts"]["adapted_parameters"] > 0
    if cell.kind == "versus-train":
        assert record["facts"]["agreement"].keys() == {"cached:class_first"}
        apart = record["facts"]["agreement"]["cached:class_first"]
        assert apart["loss_absolute"] < 1e-4 and apart["gradient_relative"] < 1e-3
        rows = record["facts"]["rows"]
        assert 2 < rows["slots_first"] < rows["class_first"] < 30  # CLS . end against all slots
    if cell.kind == "versus-infer":
        assert record["facts"]["agreement"]["exact:class_first"]["logits_absolute"] < 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "variant", ["host", "adapted", "static:class_first", "tangent:class_first"]
)
def test_what_needs_no_text_encoder_is_measured_without_it(cell_models, method: str, variant: str):
    made = cell_models("memory-infer", method, variant)
    call = build_variant(made, variant)
    before = call()
    student = made.adapted if variant == "adapted" else made.beta
    told = student.fingerprint()
    blocks = weakref.ref(student.model.text_encoder.transformer)
    slim(made, variant)
    gc.collect()
    assert blocks() is None
    assert student.model.text_encoder is None and len(student.token_weight) == 1
    assert sum(update.numel() for update in student.adaptation.values()) == 0
    assert student.fingerprint() == told and bool(student.adaptation) == (variant == "adapted")
    assert torch.equal(call(), before)
    if ":" in variant:
        with pytest.raises(RuntimeError, match="no slots"):
            made.deployed.beta.text_path(torch.zeros(1, 5, 64))


@pytest.mark.parametrize("method", METHODS)
def test_an_adapted_host_is_the_same_graph_with_other_weights(cell_models, method: str):
    made = cell_models("adapted", method)
    host, adapted = (build_variant(made, name)() for name in ("host", "adapted"))
    assert host.shape == adapted.shape and not torch.equal(host, adapted)
    shapes = [
        {name: value.shape for name, value in student.model.named_parameters()}
        for student in (made.beta, made.adapted)
    ]
    assert shapes[0] == shapes[1]
    assert {type(m) for m in made.beta.model.modules()} == {
        type(m) for m in made.adapted.model.modules()
    }


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_logits_of_its_own(cell_models, mode: str):
    made = cell_models("infer", "coop", batch=8)
    name = f"{mode}@25" if MODES[mode].needs_margin else mode
    logits, exact = (
        build_prediction(made, n, "class_first")(made.pictures["beta"]) for n in (name, "exact")
    )
    assert logits.shape == (8, 6) and made.deployed is not None
    assert torch.equal(logits, exact) == (mode == "exact")


def test_no_adapted_image_side_is_looked_at_at_the_native_size():
    cells = plan(get_size("tiny"), ["coop"], [32, 64])
    adapted = [c for c in cells if "adapted" in c.variants]
    assert {(c.kind, c.phi, c.batch) for c in adapted} == {
        (kind, 32, batch) for kind in ("adapted", "memory-infer") for batch in (1, 32)
    }


def test_calls_that_take_minutes_have_no_warm_up():
    modes = ("host", "exact:class_first", "static:class_first")
    assert cold_of(Cell("infer", "coop", 96, 100, 32, modes)) == ["exact:class_first"]
    assert cold_of(Cell("infer", "coop", 96, 100, 1, modes)) == []
    assert cold_of(Cell("infer", "coop", 96, 100, 32, modes, device="cuda")) == []
    versus = Cell("versus-infer", "coop", 96, 100, 1, ("published", "exact:class_first"))
    assert cold_of(versus) == ["published"]


def test_auto_checks_the_rate_of_pictures_that_its_name_says():
    first = torch.tensor([[0.0, 5.0, 1.0], [3.0, 2.5, 0.0], [1.0, 9.0, 8.9], [0.0, 0.0, 7.0]])
    for wanted in range(5):
        close = contenders(first, 3, margin_for(first, wanted)).any(dim=1)
        assert int(close.sum()) == wanted
    assert contenders(first, 3, margin_for(first, 1)).any(dim=1).tolist() == [
        False,
        False,
        True,
        False,
    ]
