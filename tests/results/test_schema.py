"""Records are valid under the published schema, and our reader judges as jsonschema does."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

import jsonschema
import pytest
from made_runs import SCORE, facts, write_rivals, write_run, write_targets, write_zero_shot

from loreal_plugin.results.record import RESULTS, read_record, write_record
from loreal_plugin.results.schema import schema, schema_fault

SWEEP = {
    "schema_version": 2,
    "kind": "sweep",
    "name": "x",
    "jobs": 1,
    "seconds": 0.5,
    "done": 1,
    "failed": 0,
    "runs": [{"command": "c", "title": "t", "state": "done", "error": "", "seconds": None}],
}
OTHERS = [None, True, -1, 0.5, 101, "", "x", [], [1], {}, {"a": 1}, [None], "0" * 64]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("records")
    write_run(out)
    write_targets(out, "xd")
    write_rivals(out)
    write_zero_shot(out)
    found = [json.loads(path.read_text()) for path in sorted(out.rglob(RESULTS))]
    stage = facts("maple", 96, 1) | {"base": SCORE, "files": {"loreal/m": "a" * 64}}
    return [*found, stage, SWEEP]


def test_the_schema_is_one_and_takes_every_record(records):
    jsonschema.Draft202012Validator.check_schema(schema())
    for record in records:
        jsonschema.validate(record, schema())
        assert schema_fault(record) == ""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return the (container, key) of every value inside."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = []
    for key in list(keys):
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


def test_changed_records_are_judged_as_jsonschema_judges_them(records):
    draw, judge = random.Random(3), jsonschema.Draft202012Validator(schema())
    refused = 0
    for record in records:
        for _ in range(60):
            changed = copy.deepcopy(record)
            container, key = draw.choice(places(changed))
            if isinstance(container, dict) and draw.random() < 0.3:
                del container[key]
            else:
                container[key] = draw.choice(OTHERS)
            assert (schema_fault(changed) == "") == judge.is_valid(changed), (key, changed)
            refused += not judge.is_valid(changed)
    assert refused > 60


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": "1"}, "seed is '1', not integer"),
        ({"base": SCORE | {"accuracy": math.nan}}, "base.accuracy is nan, outside 0 to 100"),
        ({"kind": "other"}, "kind is 'other', not one of stage, evaluation, run, rivals"),
        ({"files": {"a": "b"}}, "files.a is 'b', which is not of the form"),
        ({"rows": [{"base": {"total": 1}}]}, "rows[0].base lacks accuracy"),
    ],
)
def test_a_record_that_is_not_valid_is_named_and_not_used(tmp_path, changed, said):
    write_record(tmp_path, facts("maple", 96, 1) | changed)
    record, fault = read_record(tmp_path / RESULTS)
    assert record == {} and fault.startswith(f"is not valid: {said}")
    assert fault.endswith("delete it and run the same command again")
