"""Puts a report together: a verdict, then for each protocol pictures, tables, folded statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from loreal_plugin.plain_output import counted
from loreal_plugin.results.class_tables import block_class_tables
from loreal_plugin.results.comparisons import NOTE, comparison_table
from loreal_plugin.results.cost_plots import cost_pictures
from loreal_plugin.results.efficiency import EFFICIENCY_NOTE, efficiency
from loreal_plugin.results.group import Group, Refusal, group_results
from loreal_plugin.results.layout import Block, Cell, Table, blocks_of
from loreal_plugin.results.plots import Picture, accuracy_pictures, gain_picture
from loreal_plugin.results.protocols import EVERY_CLASS, HALVES, PROTOCOLS, Protocol
from loreal_plugin.results.published_tables import SIDE_BY_SIDE, SPLITS, parts_table, side_by_side
from loreal_plugin.results.reader import Evidence, collect
from loreal_plugin.results.sections import (
    ROBUSTNESS,
    base_to_new,
    every_class,
    few_shot,
    targets,
    uncertainty,
)
from loreal_plugin.results.variant_table import VARIANTS, variants
from loreal_plugin.results.verdict import verdict_lines


@dataclass(frozen=True)
class Fold:
    """What a reader opens: a title, text and tables."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of the page: text, pictures, tables, folds, in this order."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folds: tuple[Fold, ...] = ()


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
    blocks = {name: blocks_of(groups, name) for name in PROTOCOLS}
    sections = [_head(evidence, groups, blocks), *_published(groups)]
    for name, found in blocks.items():
        sections += [_protocol(PROTOCOLS[name], found)] if found else []
    sections += _costs(blocks)
    changed = variants(groups)
    if changed:
        sections.append(Section("Variants of LOREAL", (VARIANTS,), tuple(changed)))
    if refusals:
        text = "These rows are left out, because their runs differ in more than the seed:"
        sections.append(Section("Not averaged", (text, *(f"- {refusal}" for refusal in refusals))))
    sections += _incomplete(evidence)
    return Report(title, tuple(sections), tuple(refusals))


def _head(
    evidence: Evidence, groups: Sequence[Group], blocks: Mapping[str, Sequence[Block]]
) -> Section:
    """Return what one takes away, and what the report is made of."""
    lines, alone = verdict_lines(blocks)
    runs = {result.path for result in evidence.results}
    read = f"Finished runs: {len(runs)}, rows: {len(groups)}."
    verdict = lines if len(lines) == 1 else [f"- {line}" for line in lines]
    each = [Fold("Host by host", tuple(f"- {line}" for line in alone))] if alone else []
    return Section(
        "In short", tuple(verdict or [read]), folds=(*each, _what_was_read(evidence, read))
    )


def _published(groups: Sequence[Group]) -> list[Section]:
    """Return the paper's numbers beside ours, nothing where no run is of its recipe."""
    tables, parts = side_by_side(groups), parts_table(groups)
    if not tables:
        return []
    folds = (Fold("Test and val parts", (SPLITS,), (parts,)),) if parts else ()
    return [Section("Published and measured", (SIDE_BY_SIDE,), tuple(tables), folds=folds)]


def _what_was_read(evidence: Evidence, read: str) -> Fold:
    known = evidence.provenance
    text = [
        (
            f"{read} Accuracy in percent; mean ± sample standard deviation over seeds. Bold: the"
            " best row that reads small pictures. The average HM is the mean of the datasets' HMs."
            " ms / picture: one picture alone, in memory. tokens: what the image encoder reads of a"
            " picture."
        )
    ]
    if known.get("device"):  # nothing is known where no run is finished
        text.append(
            f"Devices: {', '.join(sorted(known['device']))}; torch"
            f" {', '.join(sorted(known.get('torch', ())))}; revision"
            f" {', '.join(sorted(known.get('revision', ())))}."
        )
    times = [sweep for sweep in evidence.sweeps if sweep.get("seconds")]
    text += [
        f"Sweep `{s['name']}`: {s['done']} of {counted(len(s['runs']), 'run')},"
        f" {s['seconds'] / 60:.0f} minutes of wall time with {s['jobs']} at a time."
        for s in times
    ]
    return Fold("What was read, and how", tuple(text))


def _protocol(protocol: Protocol, blocks: Sequence[Block]) -> Section:
    """Return a protocol's section."""
    # tables without rivals stand open; the same tables with rivals are folded below them
    own = [block.without_rivals() for block in blocks]
    tables: list[Table] = few_shot(own) if protocol.shots else []
    beside: list[Table] = few_shot(blocks) if protocol.shots and own != list(blocks) else []
    intervals: list[Table] = []
    for block, runs in zip(blocks, own, strict=True):
        if not protocol.shots:
            first, *others = _tables(protocol, runs)
            note = block.best_rival()
            tables += [replace(first, notes=(note,) if note else ()), *others]
            beside += _tables(protocol, block) if runs != block else []
        intervals += uncertainty(block) if protocol.trains and not protocol.shots else []
    compared = [table for block in blocks if (table := comparison_table(block))]
    classes = [table for block in blocks for table in block_class_tables(block)]
    folds = (
        Fold("With rivals: what one would try instead", (), tuple(beside)),
        Fold("LOREAL against each baseline: tests and intervals", (NOTE,), tuple(compared)),
        Fold("Robustness, uncertainty, and published numbers", (ROBUSTNESS,), tuple(intervals)),
        Fold("Recall by class, and which classes are taken for which", (), tuple(classes)),
    )
    draw = _few_shot_pictures if protocol.shots else _phi_pictures
    shown = tuple(fold for fold in folds if fold.tables)
    return Section(protocol.section, (), tuple(tables), tuple(draw(protocol, blocks)), shown)


def _tables(protocol: Protocol, block: Block) -> list[Table]:
    """Return the tables of one block of a protocol."""
    if protocol.halves:
        return base_to_new(block)
    if protocol.across:
        return targets(block)
    return every_class(block) if protocol.trains else _zero_shot(block)


def _zero_shot(block: Block) -> list[Table]:
    """Return zero-shot CLIP's accuracy on each dataset, with the hand-made templates."""
    body = []
    for group in sorted(block.groups, key=lambda g: (g.setting.dataset, g.row)):
        found = group.results[0].scores
        scores = [
            f"{found[name].accuracy:.2f}" if name in found else "-"
            for name in (EVERY_CLASS, *HALVES)
        ]
        body.append(tuple(map(Cell, (group.setting.dataset, group.label, *scores))))
    return [Table(block.title, ("dataset", "row", "all classes", "Base", "New"), tuple(body))]


def _phi_pictures(protocol: Protocol, blocks: Sequence[Block]) -> list[Picture]:
    """Return accuracy and gain against phi, for blocks that differ in phi only."""
    pictures: list[Picture | None] = []
    for number, (title, groups) in enumerate(_families(blocks, "phi").items(), start=1):
        unit, name = protocol.unit, f"{protocol.name}_{number}"
        caption = f"Accuracy against phi, {title}"
        pictures += accuracy_pictures(f"{name}_phi", caption, groups, axis="phi", unit=unit)
        caption = f"Gain of LOREAL against phi, {title}"
        pictures.append(gain_picture(f"{name}_gain", caption, groups))
        if protocol.trains:
            caption = f"Accuracy against the time of a picture, {title}"
            pictures += cost_pictures(f"{name}_cost", caption, groups, unit)
    return [picture for picture in pictures if picture]


def _few_shot_pictures(protocol: Protocol, blocks: Sequence[Block]) -> list[Picture]:
    """Return accuracy against shots, for blocks that differ in shots only."""
    pictures: list[Picture] = []
    for number, (title, groups) in enumerate(_families(blocks, "shots").items(), start=1):
        name, caption = f"{protocol.name}_{number}", f"Accuracy against shots, {title}"
        pictures += accuracy_pictures(name, caption, groups, axis="shots", unit=protocol.unit)
    return pictures


def _families(blocks: Sequence[Block], free: str) -> dict[str, list[Group]]:
    """Return the groups of blocks that differ only in `free`, by the words for what they share."""
    found: dict[str, list[Group]] = {}
    for block in blocks:
        found.setdefault(block.title_without(free), []).extend(block.groups)
    return found


def _costs(blocks: dict[str, list[Block]]) -> list[Section]:
    """Return the efficiency section, of base-to-new runs where there are any, else of the first
    protocol.
    """
    protocol = next((p for p in PROTOCOLS.values() if p.trains and blocks[p.name]), None)
    if protocol is None:
        return []
    tables = tuple(efficiency(block) for block in blocks[protocol.name])
    fold = Fold("Parameters, training, memory, times of tests", (EFFICIENCY_NOTE,), tables)
    return [Section("Efficiency", (), folds=(fold,))]


def _incomplete(evidence: Evidence) -> list[Section]:
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
