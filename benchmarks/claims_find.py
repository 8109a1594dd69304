"""Finds the rows that a claim is about in the records of finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loreal_plugin.results.group import Group, Refusal, group_results
from loreal_plugin.results.protocols import SOURCE
from loreal_plugin.results.reader import Evidence, Result, collect
from loreal_plugin.sweep.ablations import scoped
from loreal_plugin.sweep.factors import value_words

AXES = ("protocol", "dataset", "weights", "shots")


@dataclass(frozen=True)
class Place:
    """One method at one phi, and what it is trained and tested on."""

    method: str
    phi: int
    protocol: str
    dataset: str
    weights: str
    shots: int

    @property
    def world(self) -> str:
        """Return dataset, weights and protocol in words."""
        weights = "" if self.weights == self.dataset else f", weights {self.weights}"
        protocol = "" if self.protocol == "base2new" else f", {self.protocol}"
        return f"{self.dataset}{protocol}, {self.shots} shots{weights}"


class Rows:
    """The rows of one or several output folders.

    Args:
        folders: output folders.

    Raises:
        LorealError: a folder without results.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.evidence: list[Evidence] = [collect(folder) for folder in folders]
        results = [_as_asked(r) for found in self.evidence for r in found.results]
        self.groups, refusals = group_results(results)
        self.refusals: list[Refusal] = refusals
        plain = [result for found in self.evidence for result in found.results]
        self.plain, _ = group_results(plain)

    def find(self, place: Place, row: Mapping[str, Any], overrides: Sequence[str]) -> Group | None:
        """Return a row over its seeds, None where no run has it.

        Args:
            place: of the runs.
            row: `row`, and of a rival `model` and `change`.
            overrides: of the runs, as records have them.
        """
        for group in self.groups:
            setting = group.setting
            same = (setting.method, setting.phi) == (place.method, place.phi)
            same = same and all(getattr(setting, a) == getattr(place, a) for a in AXES)
            # the order in which overrides were given changes nothing
            same = same and sorted(setting.overrides) == sorted(overrides)
            if not same or setting.host != "embedded":
                continue
            content = group.results[0].content
            if row["row"] == "rival":
                wanted = (row["model"], row["change"])
                if (content.model, content.change) == wanted:
                    return group
            elif not group.rival and group.row == row["row"]:
                return group
        return None


def _as_asked(result: Result) -> Result:
    """Return a result under the overrides that its run was given: controls have lost theirs."""
    return replace(result, setting=replace(result.setting, overrides=result.asked))


def places(claim: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Place]:
    """Return where a claim is looked at: every method at every phi."""
    at = {**defaults, **claim.get("at", {})}
    rest = {axis: at[axis] for axis in AXES}
    return [Place(method, phi, **rest) for method in at["methods"] for phi in at["phis"]]


def overrides_of(row: Mapping[str, Any], inherited: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a row's overrides as records have them; those that it inherits where it names none.

    Raises:
        ConfigError: a key of TRAINER.LOREAL that does not exist.
    """
    if "overrides" not in row:
        return tuple(inherited)
    return scoped(value_words(row["overrides"], "claim"))


def on_source(group: Group) -> Group:
    """Return a row as if it had been tested on its source alone."""

    def one(result: Result) -> Result:
        (name,) = [n for n, role in result.roles.items() if role == SOURCE]
        score = result.scores[name]
        content = replace(result.content, scores={name: score}, summary=score.accuracy)
        return replace(result, content=content, roles={name: SOURCE})

    return replace(group, results=tuple(one(result) for result in group.results))
