"""The part of a report that puts the paper's numbers beside measured ones."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from loreal_plugin.results.comparable import PARTS, tested_part, tested_pictures, why_not
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import (
    Block,
    Cell,
    Table,
    average,
    changes_text,
    method_order,
    table_key,
)
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.published import PUBLISHED_ON, PUBLISHED_RECIPE, published_average
from loreal_plugin.results.reader import Setting
from loreal_plugin.results.statistics import mean_std

HOSTS = ("native_at_phi", "phi")
SIDE_BY_SIDE = (
    "The paper's averages beside measured ones of the same recipe. It does not say whether its host"
    " was trained at 224 or at phi, so both rows of ours stand beside it. Gain: LOREAL minus the"
    " host, against each of the two. Where a setting is not the paper's, the lines below a table"
    " say in what."
)
SPLITS = (
    "Every row is tested on the test part. The authors' code says `val` (TEST.SPLIT), and its data"
    " sets hand the test part over under that name. The numbers of pictures tell the parts apart."
    " They do not tell a drawn split from the published one of the same sizes: `loreal data check"
    " NAME` does."
)


def side_by_side(groups: Sequence[Group]) -> list[Table]:
    """Return published and measured averages, a table for each protocol and phi that has both."""
    # setting of a table -> (method, overrides) of a line -> its groups
    tables: dict[Setting, dict[tuple[str, tuple[str, ...]], list[Group]]] = {}
    for group in groups:
        setting = group.setting
        if group.rival or group.row not in (*HOSTS, "loreal") or not _published(setting):
            continue
        lines = tables.setdefault(replace(table_key(setting), overrides=()), defaultdict(list))
        lines[setting.method, setting.overrides].append(group)
    methods = method_order()
    found = []
    for key in sorted(tables, key=lambda k: (list(PROTOCOLS).index(k.protocol), k.phi, k.weights)):
        lines = tables[key]
        order = sorted(lines, key=lambda line: (methods.index(line[0]), line[1]))
        body = [_line(name, lines[name]) for name in order]
        notes = [_not_the_papers(name, lines[name]) for name in order]
        head = (
            *("method", "settings", "host, published", f"trained at 224, tested at {key.phi}"),
            *(f"trained at {key.phi}", "+ LOREAL, published", "+ LOREAL", "gain, published"),
            *("gain, measured", "seeds", "the paper's setting"),
        )
        unit = PROTOCOLS[key.protocol].unit.removesuffix(" (%)")
        caption = f"{PROTOCOLS[key.protocol].title}, {unit}, {Block(key, ()).title}"
        found.append(Table(caption, head, tuple(body), notes=tuple(filter(None, notes))))
    return found


def parts_table(groups: Sequence[Group]) -> Table | None:
    """Return on which part of each benchmark rows were tested; None where there is no benchmark."""
    judged = [g for g in groups if _published(g.setting) and not g.rival]
    tested = {n: size for n, size in tested_pictures(judged).items() if n in PARTS}
    if not tested:
        return None
    body = [
        tuple(map(Cell, (name, tested_part(name, size), *map(_number, _counts(name, size)))))
        for name, size in sorted(tested.items(), key=lambda item: list(PARTS).index(item[0]))
    ]
    head = ("dataset", "part", "pictures tested", "published test part", "published val part")
    return Table("What was tested", head, tuple(body))


def _published(setting: Setting) -> bool:
    """Return whether the paper has an average that a run's dataset and recipe belong to."""
    of_paper = setting.recipe == PUBLISHED_RECIPE and setting.protocol in PUBLISHED_ON
    known = published_average(setting.protocol, setting.method, setting.phi, "loreal")
    across = PROTOCOLS[setting.protocol].across
    source = "imagenet" if across else setting.dataset
    return of_paper and known is not None and setting.dataset == source and source in PARTS


def _line(name: tuple[str, tuple[str, ...]], groups: Sequence[Group]) -> tuple[Cell, ...]:
    """Return the cells of one method with one set of overrides."""
    method, overrides = name
    rows = {row: [g for g in groups if g.row == row] for row in (*HOSTS, "loreal")}
    values = {row: average(found, Group.summaries) if found else [] for row, found in rows.items()}
    protocol, phi = groups[0].setting.protocol, groups[0].setting.phi
    host = published_average(protocol, method, phi, "phi")
    ours = published_average(protocol, method, phi, "loreal")
    assert host is not None and ours is not None, "only settings of the paper come here"
    measured = [mean_std(values[row]) for row in (*HOSTS, "loreal")]
    gains = [_gain(values["loreal"], values[row]) for row in HOSTS]
    seeds = {len(group.seeds) for group in groups}
    cells = (
        *(method, _settings(overrides), f"{host:.2f}", measured[0], measured[1]),
        *(f"{ours:.2f}", measured[2], f"{ours - host:+.2f}", " and ".join(gains)),
        " to ".join(map(str, sorted({min(seeds), max(seeds)}))),
        "no" if _why_not(groups) else "yes",
    )
    return tuple(map(Cell, cells))


def _settings(overrides: Sequence[str]) -> str:
    """Return what a run's settings are called in the table."""
    return changes_text(overrides) or "default"


def _why_not(groups: Sequence[Group]) -> str:
    return why_not([g for g in groups if g.row == "loreal"] or list(groups))


def _not_the_papers(name: tuple[str, tuple[str, ...]], groups: Sequence[Group]) -> str:
    """Return in what a line's setting is not the paper's, as a sentence; empty where it is."""
    reason = _why_not(groups)
    return f"{name[0]}, {_settings(name[1])}: not the paper's setting ({reason})." if reason else ""


def _gain(ours: Sequence[float], host: Sequence[float]) -> str:
    if not ours or not host:
        return "-"
    return f"{statistics.fmean(ours) - statistics.fmean(host):+.2f}"


def _counts(name: str, tested: int) -> tuple[int, int, int]:
    return tested, PARTS[name].test, PARTS[name].val


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"
