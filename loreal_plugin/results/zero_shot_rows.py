"""Zero-shot CLIP in the tables of other protocols: a record of it knows one dataset, a table may
want several.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from loreal_plugin.options import LOREAL
from loreal_plugin.presets import PRESETS
from loreal_plugin.results.group import Group
from loreal_plugin.results.protocols import EVERY_CLASS, HALVES, ZERO_SHOT, judged
from loreal_plugin.results.reader import ZERO_SHOT_METHOD, Result, Setting
from loreal_plugin.results.record import harmonic_mean
from loreal_plugin.results.run import Score


def zero_shot_rows(groups: Sequence[Group], key: Setting, members: Sequence[Group]) -> list[Group]:
    """Return zero-shot CLIP's rows for a table of another protocol, none for its own.

    CLIP reads the pictures of a row in the way that the table's runs do: positions are resampled
    alike, and no key of INPUT or MODEL differs. Of several recipes the table's own comes first.

    Args:
        groups: every group of the report.
        key: the table's setting without method and dataset.
        members: the table's own groups.
    """
    if key.protocol == ZERO_SHOT.name:
        return []
    zero = [
        g
        for g in groups
        if g.setting.protocol == ZERO_SHOT.name
        and g.setting.weights == key.weights
        and g.setting.phi == key.phi
        and _input(g.setting) == _input(key)
    ]
    zero.sort(key=lambda g: g.setting.recipe == key.recipe)  # the last of a place counts
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


def _input(setting: Setting) -> dict[str, str]:
    """Return what a run's overrides say of how CLIP reads a picture."""
    words = [text.partition(" ")[2].partition(" ") for text in setting.overrides]
    asked = {key: value.strip("'\"") for key, _, value in words}
    found = {key: value for key, value in asked.items() if key.startswith(("INPUT.", "MODEL."))}
    preset = PRESETS.get(asked.get(f"{LOREAL}PRESET", ""), PRESETS["default"])
    name = "position_resampling"
    return found | {name: asked.get(f"{LOREAL}{name.upper()}", preset[name])}


def _for_table(member: Group, row: str, zero: Mapping[tuple[str, str], Result]) -> Result | None:
    """Return CLIP's row with the test sets of a table, None where one of them was not measured."""
    first = member.results[0]
    own = zero.get((member.setting.dataset, row))
    if not first.roles:
        halves = {name: own.scores[name] for name in HALVES if own and name in own.scores}
        if not own or len(halves) < len(HALVES):
            return None
        return _with(own, halves, harmonic_mean(*(halves[name].accuracy for name in HALVES)))
    scores: dict[str, Score] = {}
    for name in first.scores:
        result = zero.get((name, row))
        if result is None or EVERY_CLASS not in result.scores:
            return None
        scores[name] = result.scores[EVERY_CLASS]
    average = statistics.fmean(scores[name].accuracy for name in judged(scores, first.roles))
    basis = own or zero[next(iter(scores)), row]
    return replace(_with(basis, scores, average), roles=first.roles)


def _with(result: Result, scores: Mapping[str, Score], summary: float) -> Result:
    """Return a result with other scores."""
    return replace(result, content=replace(result.content, scores=scores, summary=summary))
