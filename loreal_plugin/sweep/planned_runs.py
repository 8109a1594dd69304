"""The runs of a plan, each with its command line and the setting that its record will have."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.contract import PLAIN_METHOD
from loreal_plugin.errors import LorealError
from loreal_plugin.paths import embedded_host, typed
from loreal_plugin.results.protocols import BASE2NEW, PROTOCOLS, TRAINED, own_targets
from loreal_plugin.results.reader import ZERO_SHOT_METHOD, Setting
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.sweep.plan_file import RIVALS, BlockPlan, PlanFile


@dataclass(frozen=True)
class Locations:
    """Folders that the runs read and write; None leaves one to the environment."""

    out: Path
    data: str | None = None
    host: str | None = None


@dataclass(frozen=True)
class Run:
    """One run of a plan."""

    protocol: str
    spec: RunSpec
    words: tuple[str, ...]
    variant: str = ""
    until: str | None = None
    targets: tuple[str, ...] = ()  # none: those of the source
    block: int = 0  # which block of the plan; the first come first

    @property
    def rivals(self) -> bool:
        """Return whether this measures rivals of another run."""
        return self.protocol in RIVALS

    @property
    def trained(self) -> bool:
        """Return whether anything is trained; what is not is the same for all methods."""
        return PROTOCOLS[self.table].trains

    @property
    def table(self) -> str:
        """Return the protocol in whose tables the results stand."""
        return RIVALS.get(self.protocol, self.protocol)

    @property
    def command(self) -> str:
        """Return the command that does the same by hand; paths as one types them here."""
        words = (typed(Path(x)) if os.path.isabs(x) else shlex.quote(x) for x in self.words)
        return " ".join(["loreal", *words])

    @property
    def title(self) -> str:
        """Return a short name for a line of progress."""
        s = self.spec
        shots = f" {s.shots} shots" if PROTOCOLS[self.table].shots else ""
        who = f"{self.protocol} phi {s.phi} {s.dataset}"
        if self.trained:
            who = f"{self.protocol} {s.method} {s.phi} {s.dataset}{shots} seed {s.seed}"
        return f"{who} [{self.variant}]" if self.variant else who

    @property
    def setting(self) -> Setting:
        """Return the setting that the run's record will have."""
        s = self.spec
        host = "embedded" if s.host == embedded_host() else s.host.name
        texts = tuple(f"{o.scope} {o.key} {o.value}" for o in s.overrides)
        if not self.trained:
            return Setting(
                self.table, s.dataset, ZERO_SHOT_METHOD, s.phi, 0, s.weights, s.recipe, host
            )
        own = own_targets(self.table, s.dataset, self.targets)
        return Setting(
            self.table, s.dataset, s.method, s.phi, s.shots, s.weights, s.recipe, host, texts, own
        )

    @property
    def seed(self) -> int:
        """Return the seed that the run's record will have."""
        return self.spec.seed if self.trained else 0

    @property
    def process(self) -> tuple[str, ...]:
        """Return what a process is for: it attaches one host, for one method, with one CLIP."""
        return str(self.spec.host), self.spec.method, self.spec.weights

    @property
    def family(self) -> tuple[str, ...]:
        """Return what runs that share a stage have in common; they wait for each other."""
        s = self.spec
        stages = PROTOCOLS[self.table].home
        return (
            stages,
            str(s.host),
            s.method,
            s.dataset,
            str(s.shots),
            str(s.seed),
            s.weights,
            s.recipe,
        )


def expand(plan: PlanFile, locations: Locations, env: Mapping[str, str] = os.environ) -> list[Run]:
    """Return the runs of a plan without repetitions: rivals after the runs that they are measured
    on.

    Raises:
        LorealError: a run that cannot be started as written; the message names the plan.
    """
    runs: dict[tuple[str, ...], Run] = {}
    for number, block in enumerate(plan.blocks):
        for run in _of_block(number, block, plan, locations, env):
            runs.setdefault(run.words, run)
    return sorted(runs.values(), key=lambda run: run.rivals)


def _of_block(
    number: int, block: BlockPlan, plan: PlanFile, locations: Locations, env: Mapping[str, str]
) -> Iterable[Run]:
    """Give the runs of a block; repetitions are left in."""
    axes = block.axes
    for protocol in axes["protocols"]:
        # what trains nothing is the same for all methods, seeds and shots
        alone = not PROTOCOLS[RIVALS.get(protocol, protocol)].trains
        methods = (PLAIN_METHOD,) if alone else axes["methods"]
        seeds = (1,) if alone else axes["seeds"]
        shots = (None,) if alone else axes["shots"]
        targets = _targets(block, protocol, env)
        variants = block.variants[:1] if alone or protocol in RIVALS else block.variants
        # seeds outside: a sweep that is broken off has whole tables of fewer seeds
        for seed, phi, dataset, shot, weights, recipe, method, variant in itertools.product(
            seeds,
            axes["phis"],
            axes["datasets"],
            shots,
            axes["weights"],
            axes["recipes"],
            methods,
            variants,
        ):
            dataset = dataset or "demo"  # as every script
            named = {"shots": shot and str(shot), "weights": weights, "recipe": recipe}
            opts = () if alone else variant.words
            try:
                spec = build_spec(
                    method,
                    str(phi),
                    dataset,
                    str(seed),
                    out=str(locations.out),
                    data=locations.data,
                    host=locations.host,
                    opts=opts,
                    env=env,
                    **named,
                )
            except LorealError as error:
                raise type(error)(
                    f"plan {plan.name}, {protocol} {method} {phi} {dataset}: {error}"
                ) from error
            until = block.until if protocol in TRAINED else None
            words = run_words(protocol, spec, opts, until, targets)
            name = "" if alone else variant.name
            yield Run(protocol, spec, words, name, until, targets, number)


def _targets(block: BlockPlan, protocol: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the targets that a block's runs of a protocol name, or TARGETS does."""
    if not PROTOCOLS[RIVALS.get(protocol, protocol)].across:
        return ()
    return block.targets or tuple(env.get("TARGETS", "").replace(",", " ").split())


def run_words(
    protocol: str,
    spec: RunSpec,
    opts: tuple[str, ...] = (),
    until: str | None = None,
    targets: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the words after `loreal` that make this run, with nothing left to the environment."""
    where = ["--out", str(spec.out), "--data", str(spec.data), "--weights", spec.weights]
    table = PROTOCOLS[RIVALS.get(protocol, protocol)]
    if not table.trains:
        return (table.name, str(spec.phi), spec.dataset, *where)
    rest = [*where, "--shots", str(spec.shots), "--recipe", spec.recipe]
    rest += [] if spec.host == embedded_host() else ["--host", str(spec.host)]
    rest += ["--until", until] if until else []
    rest += ["--protocol", table.name] if protocol in RIVALS and table != BASE2NEW else []
    rest += ["--targets", " ".join(targets)] if targets else []
    rest += ["--", *opts] if opts else []
    command = "rivals" if protocol in RIVALS else protocol
    return (command, spec.method, str(spec.phi), spec.dataset, str(spec.seed), *rest)
