"""Pure parts of the inference modes: contenders, merging, thresholds, plans, stored tables."""

from __future__ import annotations

import json
import math

import pytest
import torch

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files import write_checked
from loreal_plugin.inference.agreement import cheapest, choose_margin, compare
from loreal_plugin.inference.expansion_store import (
    CHECKS,
    ExpansionPlan,
    draw_statistics,
    stored_expansion,
)
from loreal_plugin.inference.modes import contenders, merge
from loreal_plugin.inference.table_store import TableStore

INF = float("inf")
WEIGHT = torch.randn(12, 120, 8, generator=torch.Generator().manual_seed(1))


def random_logits(n: int = 50, c: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, c, generator=torch.Generator().manual_seed(seed))


def slow_auto(first: torch.Tensor, exact: torch.Tensor, k: int, margin: float) -> list[int]:
    """Return the class that `auto` predicts for each image, written out image by image."""
    found = []
    for row, true in zip(first.tolist(), exact.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: -row[c])[:k]
        near = [c for c in order if row[c] >= row[order[0]] - margin]
        found.append(near[0] if len(near) == 1 else max(near, key=lambda c: true[c]))
    return found


@pytest.mark.parametrize("k", [1, 2, 6, 9])
@pytest.mark.parametrize("margin", [0.0, 0.3, 1.5, INF])
def test_refined_logits_predict_what_the_obvious_loop_predicts(k: int, margin: float):
    first, exact = random_logits(), random_logits(seed=1)
    marked = contenders(first, k, margin)
    images, classes = marked.nonzero(as_tuple=True)
    merged = merge(first, images, classes, exact[images, classes])
    assert merged.argmax(1).tolist() == slow_auto(first, exact, k, margin)
    assert torch.equal(merged[marked], exact[marked])
    untouched = ~marked.any(1)
    assert torch.equal(merged[untouched], first[untouched])
    lowest = torch.where(marked, exact, torch.tensor(INF)).amin(1, keepdim=True)
    assert (merged < lowest)[~marked & ~untouched[:, None]].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_capped_classes_stay_below_in_every_type(dtype: torch.dtype):
    first = torch.tensor([[30.0, 29.5, 29.0], [1.0, 0.5, 0.0]], dtype=dtype)
    merged = merge(
        first, torch.tensor([0, 1]), torch.tensor([2, 1]), torch.tensor([20.0, 0.0], dtype=dtype)
    )
    assert merged.argmax(1).tolist() == [2, 1] and merged.dtype == dtype


def test_margin_is_the_smallest_that_reaches_the_target_on_new_images():
    exact = random_logits(4000, seed=2)
    first = exact + 0.2 * random_logits(4000, seed=3)
    margin, promised = choose_margin(first[:2000], exact[:2000], 6, 0.98)
    assert promised

    def share(m: float) -> float:
        hits = torch.tensor(slow_auto(first[2000:], exact[2000:], 6, m)) == exact[2000:].argmax(1)
        return float(hits.float().mean())

    assert share(margin) >= 0.97 and share(0.5 * margin) < share(margin)
    calibrated = torch.tensor(slow_auto(first[:2000], exact[:2000], 6, margin)) == exact[
        :2000
    ].argmax(1)
    assert float(calibrated.float().mean()) >= 0.98


def test_margin_that_the_sample_cannot_promise_says_so():
    exact = random_logits(20)
    assert choose_margin(exact, exact, 3, 0.5) == (0.0, True)
    margin, promised = choose_margin(exact + 0.3 * random_logits(20, seed=1), exact, 3, 0.99)
    assert not promised and margin > 0  # 20 images say nothing about 1 in 100
    assert choose_margin(-exact, exact, 1, 0.9) == (0.0, False)


def test_comparison_counts_and_measures():
    exact = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    near = exact + torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.0, 1.5], [0.0, 0.0]])
    found = compare(near, exact, torch.tensor([0, 1, 1, 0]))
    assert (found.agreement, found.accuracy) == (75.0, 75.0)
    assert found.largest_error == pytest.approx(1.5) and found.median_error == pytest.approx(0.1)


def test_cheapest_mode_among_those_that_agree():
    rows = [
        {"agreement": a, "milliseconds": m}
        for a, m in ((100.0, 9), (99.4, 1), (99.6, 3), (99.5, 2))
    ]
    assert cheapest(rows, 0.995) == rows[3] and cheapest(rows, 1.0) == rows[0]


@pytest.mark.parametrize(
    ("n", "rank", "products", "wanted"),
    [
        (1000, 8, 3, (8, 3)),
        (1000, 0, 0, (12, 0)),
        (CHECKS + 40, 8, 8, (8, 4)),
        (CHECKS + 10, 8, 8, (4, 0)),
        (5, 8, 8, (1, 0)),
    ],
)
def test_small_samples_get_fewer_terms(n: int, rank: int, products: int, wanted: tuple[int, int]):
    statistics = draw_statistics(torch.rand(n, 12, generator=torch.Generator().manual_seed(0)))
    found, _ = ExpansionPlan("fitted", rank, products).directions(statistics)
    assert (found.basis.shape[1], found.n_products) == wanted
    torch.testing.assert_close(found.mean, statistics.mean)
    assert ExpansionPlan("jacobian", rank, products).directions(statistics)[0].n_products == 0


def linear_encode(hidden: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return 5 + torch.einsum("nh,hcd->ncd", hidden, WEIGHT[:, classes])


def make_expansion(folder, encode=linear_encode, say=lambda _text: None, **owner):
    statistics = draw_statistics(torch.rand(200, 12, generator=torch.Generator().manual_seed(0)))
    plan = ExpansionPlan("jacobian", 0, 0)
    return (
        stored_expansion(TableStore(folder), owner, plan, statistics, encode, 120, say=say),
        statistics,
    )


def test_expansion_of_a_linear_encoder_is_exact_up_to_its_16_bits_and_says_so(tmp_path):
    (expansion, facts), statistics = make_expansion(tmp_path)
    exact = linear_encode(statistics.sample[:9], torch.arange(120))
    near = expansion.to("cpu", torch.float32)(statistics.sample[:9])
    assert (near - exact).norm() / exact.norm() < 1e-3
    assert expansion.table.dtype == torch.float16 and facts["share_of_variance"] == 1
    assert facts["mean_error"] <= facts["largest_error"] < 1e-3 and facts["bytes"] == 120 * 8 * (
        4 + 12 * 2
    )


def test_a_broken_build_goes_on_and_a_finished_one_is_only_read(tmp_path):
    asked: list[int] = []

    def encode(hidden: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if int(classes[0]) == 100 and not asked.count(100):
            asked.append(100)
            raise KeyboardInterrupt
        asked.append(int(classes[0]))
        return linear_encode(hidden, classes)

    with pytest.raises(KeyboardInterrupt):
        make_expansion(tmp_path, encode)
    assert len(list(tmp_path.glob("expansion-part-*.json"))) == 2
    before = set(asked)
    asked[:] = [100]
    (expansion, _), _ = make_expansion(tmp_path, encode)
    assert before == {0, 50, 100} and set(asked) == {100}
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]
    (again, _), _ = make_expansion(tmp_path, None)
    assert torch.equal(again.table, expansion.table)


def test_tables_of_another_checkpoint_are_never_used(tmp_path):
    make_expansion(tmp_path, meta_nets="a")
    with pytest.raises(TypeError):
        make_expansion(tmp_path, None, meta_nets="b")
    note = next(tmp_path.glob("*.json"))
    write_checked(note, json.loads(note.read_text()) | {"ingredients": {"meta_nets": "b"}})
    with pytest.warns(UserWarning, match="belongs to something else"):
        make_expansion(tmp_path, meta_nets="a")
    array = note.with_suffix(".safetensors")
    array.write_bytes(array.read_bytes()[:-1] + b"!")
    with pytest.warns(UserWarning, match="its hash differs"):
        make_expansion(tmp_path, meta_nets="a")
    make_expansion(tmp_path, None, meta_nets="a")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        make_expansion(tmp_path / "file")
    assert math.isfinite(make_expansion(tmp_path / "new")[0][1]["mean_error"])
