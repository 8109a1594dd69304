"""Cells: what is measured together in one fresh process, and the plan of all of them.

Variants of a cell are timed in turns, so ratios inside a cell are of one run. Names of variants:

- `host`: the host alone: its own training step; at test its image encoder and text features that
  were made before
- `cached:ORDER`, `uncached:ORDER`: a stage-3 step of ours from cached embeddings, or with both
  image encoders
- `MODE:ORDER`: our prediction in an inference mode (`exact`, ...); `auto@R` checks R percent of the
  pictures exactly
- `adapted`: the host with an adapted image side, its updates merged, as `host` predicts
- `published`: the published formulation of benchmarks/published.py
- `phiN`: the host's image encoder at N pixels
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from loreal_plugin.attach.inspect_host import methods_of
from loreal_plugin.bench.sizes import ModelSize, get_size
from loreal_plugin.contract import get_contract
from loreal_plugin.inference_modes import MODES

TRAIN_CLASSES, TRAIN_BATCH = 50, 4
TEST_CLASSES = 100
AUTO_RATES = (5, 25)  # percent of the pictures
GROWTH_CLASSES = (10, 100, 1000)
GROWTH_BATCHES = (1, 4, 32)
SHORT_WORDS = ("color", "shape", "texture", "size", "background")  # of one token each


@dataclass(frozen=True)
class Cell:
    """One measurement; equal cells measure the same thing."""

    kind: str
    method: str
    phi: int
    n_classes: int
    batch: int
    variants: tuple[str, ...]
    size: str = "vit_b16"
    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"
    words: tuple[str, ...] = ()  # the attributes; () = those of attributes/caltech101.json

    @property
    def id(self) -> str:
        """Return its name in the results; a memory cell has one variant, which is part of it."""
        parts = [self.kind, self.size, self.device, f"t{self.threads}", self.precision, self.method]
        parts += [f"phi{self.phi}", f"C{self.n_classes}", f"B{self.batch}"]
        parts += ["-".join(self.words)] if self.words else []
        return "/".join([*parts, *(self.variants if self.kind.startswith("memory") else ())])

    @property
    def trains(self) -> bool:
        """Whether training steps are measured, not predictions."""
        return self.kind in ("train", "versus-train", "memory-train")

    def as_dict(self) -> dict[str, Any]:
        """Return the cell in JSON's types."""
        return {**asdict(self), "variants": list(self.variants), "words": list(self.words)}


def cell_of(values: dict[str, Any]) -> Cell:
    """Return the cell that `as_dict` wrote."""
    known = {f.name for f in fields(Cell)}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    return Cell(**given)


def orders_of(method: str) -> tuple[str, ...]:
    """Return the slot orders that are compared for a method: those that it can take."""
    allowed = get_contract(method).slot_orders
    return tuple(order for order in ("class_first", "slots_first") if order in allowed)


def methods_to_compare(host: Path) -> list[str]:
    """Return the methods of a host that have a text path to compare.

    Where a method's own prompts depend on the image, nothing can be kept from image to image.
    """
    return [method for method in methods_of(host) if get_contract(method).static_prompts]


def plan(
    size: ModelSize, methods: Sequence[str], phis: Sequence[int], **settings: Any
) -> list[Cell]:
    """Return all cells, the ones that say most first.

    Args:
        settings: device, threads and precision of every cell.
    """
    low = min(phis)
    base = Cell("", "", low, TEST_CLASSES, 1, (), size=size.name, **settings)
    cells = [
        *_versus(base, methods, low),
        *_efficiency(base, methods, phis),
        *_growth(base, methods, low),
    ]
    cells += [
        replace(
            base,
            kind="image",
            method=m,
            phi=max(phis),
            batch=b,
            n_classes=10,
            variants=tuple(f"phi{p}" for p in phis),
        )
        for m in methods
        for b in (1, 32)
    ]
    cells += list(_memory(base, methods, phis))
    return list(dict.fromkeys(cells))


def _versus(base: Cell, methods: Sequence[str], low: int) -> Iterator[Cell]:
    """Yield comparisons with the published formulation."""
    for method in methods:
        at = replace(base, method=method, phi=low)
        steps = tuple(
            f"{how}:{order}" for order in orders_of(method) for how in ("cached", "uncached")
        )
        yield replace(
            at,
            kind="versus-train",
            n_classes=TRAIN_CLASSES,
            batch=TRAIN_BATCH,
            variants=("published", *steps),
        )
        exact = tuple(f"exact:{order}" for order in orders_of(method))
        yield replace(at, kind="versus-infer", variants=("published", *exact))
    short = replace(base, method=methods[0], phi=low, words=SHORT_WORDS)
    steps = ("cached:class_first", "uncached:class_first")
    step = replace(short, kind="versus-train", n_classes=TRAIN_CLASSES, batch=TRAIN_BATCH)
    yield replace(step, variants=("published", *steps))
    yield replace(short, kind="versus-infer", variants=("published", "exact:class_first"))


def _efficiency(base: Cell, methods: Sequence[str], phis: Sequence[int]) -> Iterator[Cell]:
    """Yield the rows of the published table: host, and host with LOREAL."""
    for at in _adapted(base, methods, phis):
        yield replace(at, kind="adapted", variants=("host", "adapted"))
    for method in methods:
        for phi in phis:
            at = replace(base, method=method, phi=phi)
            yield replace(
                at, kind="train", n_classes=TRAIN_CLASSES, batch=TRAIN_BATCH, variants=_steps()
            )
            # of many pictures `exact` takes as many times longer: there the other modes are timed
            # at the lowest phi alone
            alone = ("host", "exact:class_first")
            many = _predictions(32) if phi == min(phis) else alone
            yield replace(at, kind="infer", variants=_predictions(1))
            yield replace(at, kind="infer", batch=32, variants=many)


def _adapted(base: Cell, methods: Sequence[str], phis: Sequence[int]) -> Iterator[Cell]:
    """Yield where an adapted image side is looked at; at the native size there is none."""
    for method in methods:
        for phi in phis:
            if phi < get_size(base.size).native:
                for batch in (1, 32) if phi == min(phis) else (1,):
                    yield replace(base, method=method, phi=phi, batch=batch)


def _growth(base: Cell, methods: Sequence[str], low: int) -> Iterator[Cell]:
    """Yield growth with C and with B, for the first method."""
    at = replace(base, method=methods[0], phi=low)
    most = max(GROWTH_CLASSES)
    for n_classes in GROWTH_CLASSES:
        # The host's step and both image encoders are left out where the host's activations outgrow
        # the memory.
        steps = ("cached:class_first",) if n_classes == most else _steps()
        yield replace(at, kind="train", n_classes=n_classes, batch=TRAIN_BATCH, variants=steps)
        yield replace(at, kind="infer", n_classes=n_classes, variants=_predictions(1))
    for batch in GROWTH_BATCHES:
        yield replace(at, kind="infer", batch=batch, variants=_predictions(batch))
    cheap = ("host", "tangent:class_first", "static:class_first")
    yield replace(at, kind="infer", n_classes=most, batch=max(GROWTH_BATCHES), variants=cheap)


def _memory(base: Cell, methods: Sequence[str], phis: Sequence[int]) -> Iterator[Cell]:
    """Yield one cell a variant, because only a fresh process tells its peak."""
    places = [(method, phi, TEST_CLASSES, 1) for method in methods for phi in phis]
    for at in _adapted(base, methods, phis):
        yield replace(at, kind="memory-infer", variants=("adapted",))
    places += [(methods[0], min(phis), n_classes, 1) for n_classes in GROWTH_CLASSES]
    places += [(methods[0], phi, TEST_CLASSES, 32) for phi in phis]
    for method, phi, n_classes, batch in places:
        at = replace(
            base, kind="memory-infer", method=method, phi=phi, n_classes=n_classes, batch=batch
        )
        yield from _one_each(at, _predictions(batch))
    yield from (
        replace(base, kind="memory-infer", method=m, phi=phi, batch=32, variants=("host",))
        for m in methods
        for phi in phis
    )
    for method in methods:
        at = replace(
            base, kind="memory-train", method=method, n_classes=TRAIN_CLASSES, batch=TRAIN_BATCH
        )
        yield from _one_each(at, ("host", "cached:class_first"))
    for n_classes in GROWTH_CLASSES:
        at = replace(
            base, kind="memory-train", method=methods[0], n_classes=n_classes, batch=TRAIN_BATCH
        )
        yield from _one_each(at, ("cached:class_first",))


def _one_each(cell: Cell, variants: Iterable[str]) -> Iterator[Cell]:
    return (replace(cell, variants=(variant,)) for variant in variants)


def _steps() -> tuple[str, ...]:
    return ("host", "cached:class_first", "uncached:class_first")


def _predictions(batch: int) -> tuple[str, ...]:
    """Return host and modes; of one picture `auto` checks none or all, of many the rates."""
    rates = (0, 100) if batch == 1 else AUTO_RATES
    modes = [
        name
        for mode in MODES
        for name in ([f"{mode}@{r}" for r in rates] if MODES[mode].needs_margin else [mode])
    ]
    return ("host", *(f"{mode}:class_first" for mode in modes))
