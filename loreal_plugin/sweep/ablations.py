"""The ablation page: a table a factor, a sentence a finding, and what the paper says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loreal_plugin.errors import ConfigError
from loreal_plugin.files import write_text
from loreal_plugin.paths import bundle_root
from loreal_plugin.results.comparisons import Comparison, compare, difference_cells, p_text
from loreal_plugin.results.group import Group, Refusal, group_results
from loreal_plugin.results.layout import Cell, Table
from loreal_plugin.results.markdown import table_markdown
from loreal_plugin.results.protocols import HALVES
from loreal_plugin.results.reader import Evidence, Result, collect
from loreal_plugin.results.statistics import mean_std
from loreal_plugin.runs.spec import parse_overrides
from loreal_plugin.sweep.factors import Claim, Factor
from loreal_plugin.sweep.plan_file import PlanFile, read_plan
from loreal_plugin.sweep.planned_runs import Locations, Run, expand

NOISE = 0.05


@dataclass(frozen=True)
class Measured:
    """What is known of a factor in one setting: method, phi and dataset.

    Attributes:
        title: of the setting.
        groups: runs of each variant, None where none has ended.
    """

    title: str
    groups: dict[str, Group | None]

    def against(self, one: str, other: str) -> Comparison | None:
        """Return the comparison of two variants, None where they have no seed in common."""
        ours, theirs = self.groups[one], self.groups[other]
        return compare(ours, theirs) if ours and theirs else None


def write_ablations(out: Path, file: Path, plans: Sequence[str] | None = None) -> Path:
    """Write the page from the runs below an output folder.

    Args:
        plans: plan files or names; None for every plan of `configs/plans/` with factors.

    Raises:
        LorealError: nothing to report, a plan that cannot be read, or a plan without factors.
    """
    evidence = collect(out)
    chosen = [read_plan(name) for name in plans] if plans else shipped_plans()
    for plan in chosen:
        if not plan.factors:
            raise ConfigError(
                f"plan {plan.path} has no factors; docs/SWEEPS.md says what these are"
            )
    write_text(file, ablation_page(evidence, chosen, out))
    return file


def shipped_plans() -> list[PlanFile]:
    """Return the plans of the project that have factors of their own, those of the paper first."""
    found = [
        read_plan(path)
        for path in sorted((bundle_root() / "configs" / "plans").glob("ablations*.yaml"))
    ]
    return sorted(found, key=lambda plan: not any(factor.claims for factor in plan.factors))


def ablation_page(evidence: Evidence, plans: Sequence[PlanFile], out: Path) -> str:
    """Return the page as Markdown."""
    groups, refusals = variant_groups(evidence.results)
    names = " ".join(plan.name for plan in plans)
    parts = [
        "# Ablations",
        "Made by `loreal report OUT --ablations FILE` from the runs of the plans "
        + ", ".join(f"`{plan.name}`" for plan in plans)
        + " (`loreal sweep PLAN`). Accuracy with LOREAL in percent (HM for base-to-new), mean ±"
        " sample standard deviation over n seeds. The difference is to the first line of a"
        " table, on the same pictures and seeds, with its 95 % interval over pictures; p is of a"
        f" paired test (see the report's notes). A difference with p above {NOISE}, or of which"
        " one seed says the opposite of another, is called noise here: p is about pictures, not"
        " about the noise of training. With so many lines, one in twenty p-values is below that"
        " by chance alone. Numbers of the demonstration world say nothing about the size of an"
        " effect on photographs.",
    ]
    tables, verdicts = [], []
    for plan in plans:
        runs = expand(plan, Locations(out))
        tables += [f"## {plan.title or plan.name}"]
        for factor in plan.factors:
            known = measured(factor, runs, groups)
            tables.append(factor_markdown(factor, known))
            verdicts += [(factor, entry, claim) for entry in known for claim in factor.claims]
    parts += [*claims_markdown(verdicts), *tables]
    if refusals:
        parts += ["## Not averaged", "\n".join(f"- {refusal}" for refusal in refusals)]
    known = evidence.provenance
    parts.append(
        f"Plans: {names}. Devices: {', '.join(sorted(known.get('device', ())))}; revision "
        f"{', '.join(sorted(known.get('revision', ())))}."
    )
    return "\n\n".join(parts) + "\n"


def claims_markdown(claims: Sequence[tuple[Factor, Measured, Claim]]) -> list[str]:
    """Return the overview of the paper's claims, nothing where the plans have none."""
    if not claims:
        return []
    body = []
    for factor, entry, claim in claims:
        comparison = entry.against(claim.better, claim.worse)
        cells = (
            factor.name,
            entry.title,
            f"{claim.better} > {claim.worse}",
            claim.published,
            f"{comparison.gain:+.2f}" if comparison else "-",
            verdict(comparison),
        )
        body.append(tuple(map(Cell, cells)))
    heads = ("factor", "method", "claim", "published", "measured difference", "verdict")
    counts = [f"{sum(row[-1].text == word for row in body)} {word}" for word in VERDICTS]
    table = Table(f"Claims of the paper: {', '.join(counts)}", heads, tuple(body), words=4)
    return ["## The paper's claims", table_markdown(table)]


def variant_groups(results: Iterable[Result]) -> tuple[list[Group], list[Refusal]]:
    """Return the rows with LOREAL by the overrides that were asked for, controls included."""
    rows = [r for r in results if r.row.startswith("loreal") and not r.rival]
    return group_results(
        replace(
            r,
            content=replace(r.content, name="loreal"),
            setting=replace(r.setting, overrides=r.asked),
        )
        for r in rows
    )


def measured(factor: Factor, runs: Sequence[Run], groups: Sequence[Group]) -> list[Measured]:
    """Return what is known of a factor, one entry a method, phi and dataset of the plan."""
    by_setting = {group.setting: group for group in groups}
    plain = dict.fromkeys(
        replace(r.setting, overrides=())
        for r in runs
        if not factor.methods or r.spec.method in factor.methods
    )
    found = []
    for setting in plain:
        wanted = {
            name: replace(setting, overrides=scoped(words))
            for name, words in factor.variants.items()
        }
        several = len({(s.phi, s.dataset) for s in plain}) > 1
        title = (
            f"{setting.method}, phi {setting.phi}, {setting.dataset}" if several else setting.method
        )
        found.append(Measured(title, {name: by_setting.get(key) for name, key in wanted.items()}))
    return found


def scoped(words: Sequence[str]) -> tuple[str, ...]:
    """Return KEY VALUE words as a record's overrides read: `scope KEY VALUE`."""
    return tuple(f"{o.scope} {o.key} {o.value}" for o in parse_overrides(list(words)))


def factor_markdown(factor: Factor, known: Sequence[Measured]) -> str:
    """Return a factor's heading, tables and sentences."""
    parts = [f"### {factor.name}", factor.question]
    parts += [table_markdown(_table(factor, entry)) for entry in known]
    sentences = [sentence for entry in known for sentence in findings(factor, entry)]
    return "\n\n".join([*parts, "\n".join(f"- {sentence}" for sentence in sentences)])


def _table(factor: Factor, entry: Measured) -> Table:
    """Return one line a variant; the first is what the others are compared with."""
    first = next(iter(factor.variants))
    body = []
    for name, words in factor.variants.items():
        group = entry.groups[name]
        changed = " ".join(words).replace("TRAINER.LOREAL.", "") or "-"
        cells = [
            name,
            changed,
            *_halves(entry, group),
            mean_std(group.summaries()) if group else "not measured",
        ]
        comparison = entry.against(name, first) if name != first else None
        cells += difference_cells(comparison) + [str(len(group.seeds)) if group else "0"]
        body.append(tuple(map(Cell, cells)))
    summary = ("Base", "New", "HM") if _has_halves(entry) else ("accuracy",)
    head = ("variant", "changes", *summary, "difference", "95 % over pictures", "p", "n")
    return Table(entry.title, head, tuple(body))


def _has_halves(entry: Measured) -> bool:
    """Return whether the accuracy is the harmonic mean of two."""
    return any(
        set(HALVES) <= set(group.results[0].scores) for group in entry.groups.values() if group
    )


def _halves(entry: Measured, group: Group | None) -> list[str]:
    """Return the accuracies that a summary is made of, nothing where it is one number by itself."""
    if not _has_halves(entry):
        return []
    return [mean_std(group.accuracies(half)) if group else "-" for half in HALVES]


def findings(factor: Factor, entry: Measured) -> list[str]:
    """Return the sentences of a table: what differs from the first variant, then the claims."""
    first, *others = factor.variants
    found = {name: entry.against(name, first) for name in others}
    there = {name: c for name, c in found.items() if c}
    texts = [_differences(first, there) if there else "not measured."]
    texts += [_claim_sentence(claim, entry) for claim in factor.claims]
    return [f"{entry.title}: {text}" for text in texts]


def _differences(first: str, found: dict[str, Comparison]) -> str:
    """Return which variants differ from the first by more than noise."""
    clear = {name: c for name, c in found.items() if decided(c)}
    said = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [f"{name} ({c.gain:+.2f})" for name, c in clear.items() if c.gain * sign > 0]
        said += [f"{word} than `{first}`: {', '.join(names)}"] if names else []
    noise = [f"{name} ({c.gain:+.2f})" for name, c in found.items() if name not in clear]
    said += [f"within noise of `{first}`: {', '.join(noise)}"] if noise else []
    return "; ".join(said) + "."


def decided(comparison: Comparison) -> bool:
    """Return whether a difference is more than noise: by the paired test, without answers by the
    seeds' interval.

    The test knows the noise of pictures alone; that of trainings shows where seeds differ in sign.
    """
    if comparison.p is not None:
        return comparison.p < NOISE and comparison.same_sign
    return comparison.seeds is not None and comparison.seeds.excludes_zero


VERDICTS = ("agrees", "disagrees", "undecided", "not measured")


def verdict(comparison: Comparison | None) -> str:
    """Return whether a measured difference is above zero, as the paper says."""
    if comparison is None:
        return "not measured"
    return (
        ("agrees" if comparison.gain > 0 else "disagrees") if decided(comparison) else "undecided"
    )


def _claim_sentence(claim: Claim, entry: Measured) -> str:
    """Return what a claim of the paper says, what we measured, and whether they agree."""
    said = f"published, `{claim.better}` is better than `{claim.worse}` ({claim.published})"
    comparison = entry.against(claim.better, claim.worse)
    if comparison is None:
        return f"{said}; not measured."
    p = "" if comparison.p is None else f", p {p_text(comparison.p)}"
    doubt = "" if decided(comparison) else f", {_doubt(comparison)}"
    return (
        f"{said}; measured {comparison.gain:+.2f}{p}, n {comparison.n_seeds}:"
        f" {verdict(comparison)}{doubt}."
    )


def _doubt(comparison: Comparison) -> str:
    """Return why a difference is not decided."""
    clear = comparison.p is not None and comparison.p < NOISE
    return "seeds say the opposite of each other" if clear else "the difference is within noise"
