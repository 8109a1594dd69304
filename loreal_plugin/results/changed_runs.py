"""Runs that change another run and keep its frozen students: which they are, and what they add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from loreal_plugin.results.group import Group
from loreal_plugin.results.lookup import stages_of
from loreal_plugin.results.reader import Result, Setting

STUDENTS = ("alpha", "beta")
ADDED = ("loreal", "adapted")
# scopes of overrides that no student sees; stage 2 takes its positions from these keys nevertheless
_LATER = ("loreal", "adapted")
_OF_STUDENTS = ("TRAINER.LOREAL.PRESET", "TRAINER.LOREAL.POSITION_RESAMPLING")
_Keys = Mapping[int, tuple[str, ...]]


class ChangedRuns:
    """The groups of runs that have the students of the same run without overrides, which is there.

    Their host rows are those of that run, so that they stand beside it and not in a block of their
    own. The stages' keys in the records say whether students are the same. Where a record has none,
    or no seed is common, the overrides' keys say it.

    Args:
        groups: every group of a report.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        students = {g.setting: _student_keys(g) for g in groups if g.row == "phi" and not g.rival}
        self._unchanged = {(g.setting, g.row): g for g in groups if not g.setting.overrides}
        self._settings = {
            setting
            for setting in {g.setting for g in groups if g.setting.overrides}
            if (plain := replace(setting, overrides=())) in students
            and _keeps(setting, students.get(setting, {}), students[plain])
        }

    def __contains__(self, group: Group) -> bool:
        """Return whether a group is of such a run."""
        return group.setting in self._settings

    def unchanged(self, group: Group) -> Group | None:
        """Return the same row of the run without overrides, None where it is not there."""
        return self._unchanged.get((replace(group.setting, overrides=()), group.row))

    def repeats(self, group: Group) -> bool:
        """Return whether each seed of a group has the training and the scores of the run without
        overrides.
        """
        other = self.unchanged(group)
        if other is None or other is group or group.rival:
            return False
        known = {result.seed: result for result in other.results}
        pairs = [(result, known.get(result.seed)) for result in group.results]
        return all(theirs is not None and _same(ours, theirs) for ours, theirs in pairs)

    def added(self, groups: Sequence[Group]) -> list[Group]:
        """Return the rows with which such runs say more than the run without overrides."""
        return [g for g in groups if g in self and g.row in ADDED and not self.repeats(g)]


def _student_keys(group: Group) -> _Keys:
    """Return the keys of a run's students by seed, where its record tells them."""
    found = {r.seed: tuple(r.stages.get(name, "") for name in STUDENTS) for r in group.results}
    return {seed: keys for seed, keys in found.items() if all(keys)}


def _keeps(setting: Setting, own: _Keys, plain: _Keys) -> bool:
    """Return whether a run has the students of the run without its overrides."""
    common = own.keys() & plain.keys()
    if common:
        return all(own[seed] == plain[seed] for seed in common)
    words = [text.split(" ") for text in setting.overrides]
    return all(scope in _LATER and key not in _OF_STUDENTS for scope, key, *_ in words)


def _same(ours: Result, theirs: Result) -> bool:
    """Return whether two rows are tests of one training that say the same."""
    stage = stages_of(ours.row)[-1]
    key = ours.stages.get(stage)
    accuracies = [{name: s.accuracy for name, s in r.scores.items()} for r in (ours, theirs)]
    return bool(key) and key == theirs.stages.get(stage) and accuracies[0] == accuracies[1]
