"""Puts a report together: sections of text, tables and pictures, in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loreal_plugin.results.comparisons import NOTE, comparison_table
from loreal_plugin.results.group import Group, Refusal, group_results
from loreal_plugin.results.layout import Block, Cell, Table, blocks_of, shots_text
from loreal_plugin.results.plots import (
    Picture,
    accuracy_picture,
    cost_picture,
    gain_picture,
)
from loreal_plugin.results.reader import Evidence, collect
from loreal_plugin.results.sections import (
    EFFICIENCY_NOTE,
    base_to_new,
    efficiency,
    few_shot,
    targets,
    variants,
)

TITLES = {
    "base2new": "LR-B2N: base to new classes",
    "xd": "LR-CE: from one dataset to others",
    "dg": "LR-DG: from one domain to others",
    "few_shot": "Few-shot: all classes",
    "zero_shot": "Zero-shot CLIP",
}
UNITS = {"base2new": "HM (%)", "xd": "target average (%)", "dg": "target average (%)"}


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole page, and what could not be averaged."""

    title: str
    sections: tuple[Section, ...]
    refusals: tuple[Refusal, ...] = field(default=())


def build_report(out: Path, title: str = "LOREAL: results") -> Report:
    """Return the report of an output folder, from its results.json files only.

    Raises:
        LorealError: there is nothing to report.
    """
    evidence = collect(out)
    groups, refusals = group_results(evidence.results)
    blocks = {protocol: blocks_of(groups, protocol) for protocol in TITLES}
    sections = [_head(evidence, groups)]
    if refusals:
        text = "These rows are left out, because their runs differ in more than the seed:"
        sections.append(Section("Not averaged", (text, *(f"- {refusal}" for refusal in refusals))))
    for protocol, found in blocks.items():
        sections += [_protocol(protocol, found)] if found else []
    changed = variants(groups)
    if changed:
        text = (
            "Each line changes stage 3 of a run that stands above; the frozen students are the"
            " same."
        )
        sections.append(Section("Variants of LOREAL", (text,), tuple(changed)))
    sections += _costs(blocks)
    sections += _rest(evidence)
    return Report(title, tuple(sections), tuple(refusals))


def _head(evidence: Evidence, groups: Sequence[Group]) -> Section:
    """Return what the report is made of."""
    runs = {result.path for result in evidence.results}
    known = evidence.provenance
    text = [
        (
            f"{len(runs)} finished runs, {len(groups)} rows. Accuracy in percent; mean ± sample"
            " standard deviation over n seeds. Bold: the best row that reads small pictures. The"
            " average HM is the mean of the datasets' HMs."
        ),
        (
            f"Devices: {', '.join(sorted(known.get('device', ())))}; torch"
            f" {', '.join(sorted(known.get('torch', ())))}; revision"
            f" {', '.join(sorted(known.get('revision', ())))}."
        ),
    ]
    text += [NOTE] if any(group.row == "loreal" for group in groups) else []
    times = [sweep for sweep in evidence.sweeps if sweep.get("seconds")]
    text += [
        f"Sweep `{s['name']}`: {s['done']} of {len(s['runs'])} runs, {s['seconds'] / 60:.0f}"
        f" minutes of wall time with {s['jobs']} at a time."
        for s in times
    ]
    return Section("What was read", tuple(text))


def _protocol(protocol: str, blocks: Sequence[Block]) -> Section:
    """Return a protocol's section: tables, then comparisons, then pictures."""
    tables: list[Table] = []
    if protocol == "few_shot":
        tables += few_shot(blocks)
    for block in blocks:
        if protocol in ("base2new", "zero_shot"):
            tables += base_to_new(block) if protocol == "base2new" else _zero_shot(block)
        elif protocol in ("xd", "dg"):
            tables += targets(block)
        comparison = comparison_table(block)
        tables += [comparison] if comparison else []
    pictures = (
        _few_shot_pictures(blocks) if protocol == "few_shot" else _phi_pictures(protocol, blocks)
    )
    return Section(TITLES[protocol], (), tuple(tables), tuple(pictures))


def _zero_shot(block: Block) -> list[Table]:
    """Return zero-shot CLIP's accuracy on each dataset, with the hand-made templates."""
    body = []
    for group in sorted(block.groups, key=lambda g: (g.setting.dataset, g.row)):
        found = group.results[0].scores
        scores = [
            f"{found[name].accuracy:.2f}" if name in found else "-"
            for name in ("all", "base", "new")
        ]
        body.append(tuple(map(Cell, (group.setting.dataset, group.label, *scores))))
    return [Table(block.title, ("dataset", "row", "all classes", "Base", "New"), tuple(body))]


def _phi_pictures(protocol: str, blocks: Sequence[Block]) -> list[Picture]:
    """Return accuracy and gain against phi, one pair for blocks that differ in phi only."""
    pictures: list[Picture | None] = []
    for number, (title, groups) in enumerate(_families(blocks, "phi").items(), start=1):
        unit, name = UNITS.get(protocol, "accuracy (%)"), f"{protocol}_{number}"
        caption = f"Accuracy against phi, {title}"
        pictures.append(accuracy_picture(f"{name}_phi", caption, groups, axis="phi", unit=unit))
        pictures.append(
            gain_picture(f"{name}_gain", f"Gain of LOREAL against phi, {title}", groups)
        )
    return [picture for picture in pictures if picture]


def _few_shot_pictures(blocks: Sequence[Block]) -> list[Picture]:
    pictures = []
    for number, (title, groups) in enumerate(_families(blocks, "shots").items(), start=1):
        caption = f"Accuracy against shots, {title}"
        pictures.append(
            accuracy_picture(
                f"few_shot_{number}", caption, groups, axis="shots", unit="accuracy (%)"
            )
        )
    return [picture for picture in pictures if picture]


def _families(blocks: Sequence[Block], free: str) -> dict[str, list[Group]]:
    """Return the groups of blocks that differ only in `free`, by the words for what they share."""
    found: dict[str, list[Group]] = {}
    for block in blocks:
        drop = f"phi {block.key.phi}, " if free == "phi" else f", {shots_text(block.key.shots)}"
        found.setdefault(block.title.replace(drop, "", 1), []).extend(block.groups)
    return found


def _costs(blocks: dict[str, list[Block]]) -> list[Section]:
    """Return the efficiency section, of base-to-new runs where there are any, else of the first
    protocol.
    """
    protocol = next((p for p in TITLES if blocks[p] and p != "zero_shot"), "")
    if not protocol:
        return []
    tables = tuple(efficiency(block) for block in blocks[protocol])
    pictures = [
        cost_picture(
            f"cost_{number}",
            f"Cost against accuracy, {TITLES[protocol].split(':')[0]}, {title}",
            groups,
        )
        for number, (title, groups) in enumerate(
            _families(blocks[protocol], "phi").items(), start=1
        )
    ]
    return [
        Section(
            "Efficiency",
            (EFFICIENCY_NOTE,),
            tables,
            tuple(picture for picture in pictures if picture),
        )
    ]


def _rest(evidence: Evidence) -> list[Section]:
    """Return what is not there: failed and missing runs of sweeps, stages that never ended, files
    that are no use.
    """
    lines = []
    for sweep in evidence.sweeps:
        for run in sweep["runs"]:
            if run["state"] != "done":
                reason = f": {run['error']}" if run.get("error") else ""
                lines.append(
                    f"- sweep `{sweep['name']}`, `{run['command']}`: {run['state']}{reason}"
                )
    lines += [
        f"- `{folder}`: started, not finished; the same command goes on"
        for folder in evidence.unfinished
    ]
    lines += [f"- `{path}` {fault}" for path, fault in evidence.broken.items()]
    text = lines or ["None."]
    return [Section("Incomplete and failed runs", tuple(text))]
