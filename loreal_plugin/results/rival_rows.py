"""Zero-shot CLIP in the tables of other protocols: a record of it knows one dataset, a table may
want several.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from loreal_plugin.results.group import Group
from loreal_plugin.results.reader import ZERO_SHOT_METHOD, Result, Score, Setting

EVERYTHING = "all"


def guests_of(groups: Sequence[Group], key: Setting, members: Sequence[Group]) -> list[Group]:
    """Return zero-shot CLIP's rows for a table.

    Args:
        groups: every group of the report.
        key: the table's setting without method and dataset.
        members: the table's own groups.
    """
    zero = [
        g
        for g in groups
        if g.setting.protocol == "zero_shot"
        and g.setting.weights == key.weights
        and g.setting.phi == key.phi
    ]
    by_place = {(g.setting.dataset, g.row): g.results[0] for g in zero}
    tables = {g.setting.dataset: g for g in members}
    found = []
    for member in tables.values():
        for row in ("native", "phi"):
            result = _for_table(member, row, by_place)
            if result:
                setting = replace(member.setting, method=ZERO_SHOT_METHOD, overrides=key.overrides)
                found.append(Group(setting, row, (replace(result, setting=setting),)))
    return found


def _for_table(member: Group, row: str, zero: Mapping[tuple[str, str], Result]) -> Result | None:
    """Return CLIP's row with the test sets of a table, None where one of them was not measured."""
    first = member.results[0]
    own = zero.get((member.setting.dataset, row))
    if member.setting.protocol == "base2new":
        halves = {name: own.scores[name] for name in ("base", "new") if own and name in own.scores}
        return replace(own, scores=halves) if len(halves) == 2 else None
    scores: dict[str, Score] = {}
    for name in first.scores:
        result = zero.get((name, row))
        if result is None or EVERYTHING not in result.scores:
            return None
        scores[name] = result.scores[EVERYTHING]
    judged = [n for n in scores if first.roles.get(n) == "target"] or list(scores)
    average = statistics.fmean(scores[name].accuracy for name in judged)
    basis = own or zero[next(iter(scores)), row]
    return replace(basis, scores=scores, summary=average, roles=first.roles)
