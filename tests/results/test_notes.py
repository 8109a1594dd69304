"""What stands below a table: a share of a loss that is one, and whether numbers mean anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loreal_plugin.results.notes import difference_interval, table_notes
from loreal_plugin.results.protocols import judged
from loreal_plugin.results.run import Row, Score, run_of
from loreal_plugin.results.run_table import format_run, sentences

TOTAL = 400


def score(right: np.ndarray, *, hits: bool = True) -> dict[str, Any]:
    told = {"hits": np.packbits(right).tobytes().hex()} if hits else {}
    return {
        "accuracy": 100 * float(right.mean()),
        "correct": int(right.sum()),
        "total": TOTAL,
    } | told


def record(lost: int, gained: int, *, hits: bool = True, **more: Any) -> dict[str, Any]:
    """Return a run in which phi loses the first `lost` pictures and LOREAL wins `gained` back."""
    native = np.arange(TOTAL) < 300
    phi, loreal = native & (np.arange(TOTAL) >= lost), native & (np.arange(TOTAL) >= lost - gained)
    rows = []
    for name, right in (
        ("native", native),
        ("native_at_phi", phi),
        ("phi", phi),
        ("loreal", loreal),
    ):
        halves = {half: score(right, hits=hits) for half in ("base", "new")}
        hm = halves["base"]["accuracy"]
        rows.append(
            {"name": name, "label": name, "hm": hm, "parameters": 1, "seconds": 1.0, **halves}
        )
    facts = {
        "method": "coop",
        "phi": 96,
        "native_size": 224,
        "dataset": "demo",
        "seed": 1,
        "shots": 16,
    }
    return {
        **facts,
        "kind": "run",
        "recipe": "demo",
        "weights": {"name": "demo"},
        "rows": rows,
    } | more


def test_a_summary_is_over_the_targets_or_over_all_where_none_is_one() -> None:
    roles = {"pics": "source", "far": "target", "near": "target"}
    assert judged(roles, roles) == ["far", "near"]
    assert judged(("all", "base"), dict.fromkeys(("all", "base"), "source")) == ["all", "base"]
    assert judged(("base", "new"), {}) == ["base", "new"]


def test_a_share_of_a_loss_that_is_certain_is_told() -> None:
    assert sentences(run_of(record(80, 40)))[1].endswith(", +50 % of what was lost.")


@pytest.mark.parametrize("hits", [True, False])
def test_no_share_is_told_of_a_loss_within_its_uncertainty(hits: bool) -> None:
    found = record(1, -20, hits=hits)
    assert "%" not in sentences(run_of(found))[1] and "-5.00 points" in sentences(run_of(found))[1]


def test_the_adapted_row_obeys_the_same_rule() -> None:
    for lost, share in ((80, ", +50 % of what was lost."), (1, "points.")):
        found = record(lost, lost // 2)
        found["rows"].append({**found["rows"][-1], "name": "adapted"})
        assert sentences(run_of(found))[-1].endswith(share)


def test_pictures_that_both_rows_get_right_make_a_loss_more_certain() -> None:
    (first, second), (alone, other) = (
        [run_of(record(12, 0, hits=hits)).rows[index] for index in (0, 2)] for hits in (True, False)
    )
    paired = difference_interval(first, second, ["base", "new"])
    apart = difference_interval(alone, other, ["base", "new"])
    assert paired.low > 0 > apart.low and apart.high > paired.high


def test_the_interval_covers_the_loss_of_one_test_set() -> None:
    rows = [Row("r", "r", {"all": Score(100 * p, 1000)}, 100 * p) for p in (0.8, 0.6)]
    found = difference_interval(*rows, ["all"])
    # two independent proportions: 1.96 * sqrt(.8 * .2 / 1000 + .6 * .4 / 1000)
    assert (found.low, found.high) == pytest.approx((20 - 3.92, 20 + 3.92), abs=0.3)


def test_demo_weights_on_other_pictures_are_told_beside_the_table() -> None:
    assert table_notes(run_of(record(80, 40))) == ["LOREAL predicts in mode 'exact'."]
    strange = record(80, 40, dataset="dtd", notes=["2 of 9 tokens are untrained."])
    text = format_run(strange)
    assert text.index("+50 %") < text.index("2 of 9 tokens are untrained.")
    assert text.count("on photographs, accuracy on 'dtd' means nothing") == 1
    real = record(80, 40, dataset="dtd", weights={"name": "ViT-B/16"})
    assert table_notes(run_of(real)) == ["LOREAL predicts in mode 'exact'."]


def test_a_mode_that_was_chosen_says_how_well_it_agrees() -> None:
    chosen = {"INFERENCE": "static", "chosen": {"agreement": 99.75, "views": 400}}
    (said,) = table_notes(run_of(record(80, 40, inference=chosen)))
    assert "mode 'static', chosen at the end of stage 3: on 99.75 % of 400 held-out views" in said
