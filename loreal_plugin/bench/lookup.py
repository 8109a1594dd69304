"""The records of a results file, looked up by what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loreal_plugin.bench.cells import Cell, cell_of
from loreal_plugin.bench.results_file import BenchStore
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import DataError
from loreal_plugin.runs.timing import ratios, spread


def title_of(method: str) -> str:
    """Return the name of a method for people; of a method without a row the method itself."""
    return CONTRACTS[method].title if method in CONTRACTS else method


@dataclass(frozen=True)
class Results:
    """The records of one setting: size, device, threads and precision."""

    setting: tuple[str, str, int, str]
    records: dict[Cell, dict[str, Any]]

    @property
    def clock(self) -> str:
        """Return the clock of the tables: `cpu` on one thread, else `wall`.

        Other programs do not lengthen the processor time of one thread.
        """
        _, device, threads, _ = self.setting
        return "cpu" if device == "cpu" and threads == 1 else "wall"

    @property
    def methods(self) -> list[str]:
        """Return the methods that have a record, in the usual order."""
        found = {cell.method for cell in self.records}
        return [m for m in CONTRACTS if m in found] + sorted(found - set(CONTRACTS))

    @property
    def phis(self) -> list[int]:
        """Return the resolutions that have a record."""
        encoded = [int(v[3:]) for c in self.records for v in c.variants if v.startswith("phi")]
        return sorted({cell.phi for cell in self.records} | set(encoded))

    def find(
        self, kind: str, method: str, phi: int, n_classes: int, batch: int, variant: str = ""
    ) -> Any:
        """Return the record of a cell (of memory cells the one with `variant`), or None."""
        for cell, record in self.records.items():
            same = (cell.kind, cell.method, cell.phi, cell.n_classes, cell.batch)
            if same == (kind, method, phi, n_classes, batch) and (
                not variant or variant in cell.variants
            ):
                return record
        return None

    def milliseconds(self, record: Any, variant: str) -> dict[str, float] | None:
        """Return the spread of a variant in ms a sample, None where it was not measured."""
        if record is None or variant not in record.get("samples", {}):
            return None
        batch = record["cell"]["batch"]
        return spread([1e3 * s / batch for s in record["samples"][variant][self.clock]])

    def ratio(self, record: Any, slow: str, fast: str) -> dict[str, float] | None:
        """Return the spread of slow / fast, None where one was not measured."""
        if record is None or not {slow, fast} <= set(record.get("samples", {})):
            return None
        return ratios(record["samples"], slow, fast, self.clock)

    def peak(
        self,
        method: str,
        phi: int,
        n_classes: int,
        batch: int,
        variant: str,
        kind: str = "memory-infer",
    ) -> Any:
        """Return a variant's peak in MiB, None where it was not measured."""
        record = self.find(kind, method, phi, n_classes, batch, variant)
        return record["memory"][variant]["peak_mib"] if record else None

    def first_ms(
        self, method: str, phi: int, n_classes: int, batch: int, variant: str, kind: str
    ) -> float | None:
        """Return the processor time of a variant's first call in ms a sample, or None."""
        record = self.find(kind, method, phi, n_classes, batch, variant)
        seconds = record["memory"][variant].get("first_s") if record else None
        return None if seconds is None else 1e3 * seconds / batch


def group(store: BenchStore) -> list[Results]:
    """Return the measured records by setting.

    Raises:
        DataError: the file has none.
    """
    found: dict[tuple[str, str, int, str], dict[Cell, dict[str, Any]]] = {}
    for record in store.records.values():
        if "error" not in record:
            cell = cell_of(record["cell"])
            found.setdefault((cell.size, cell.device, cell.threads, cell.precision), {})[cell] = (
                record
            )
    if not found:
        raise DataError(
            f"{store.path} has no measurement; run loreal bench --out {store.path} first"
        )
    return [Results(setting, found[setting]) for setting in sorted(found)]
