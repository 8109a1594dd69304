"""What a run of a protocol tests: datasets, their classes, their roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loreal_plugin.data import dataset_config
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.results.protocols import PROTOCOLS, SOURCE, TARGET, Protocol
from loreal_plugin.runs.spec import RunSpec


@dataclass(frozen=True)
class TestSet:
    """Pictures to test on: a dataset's YAML and options, its classes (`all`, `base`, `new`), its
    role.
    """

    __test__ = False  # pytest would take the name for a test's

    name: str
    dataset: str
    classes: str
    role: str
    config: Path
    options: tuple[str, ...]


def protocol_of(name: str, source: str, targets: Sequence[str] = ()) -> Protocol:
    """Return a protocol with the targets of a source dataset, where it tests any.

    Args:
        targets: names of datasets; none = those that belong to the source.

    Raises:
        ConfigError: nothing is known of the source and no targets are named, or one is named twice
            or is the source.
    """
    protocol = PROTOCOLS[name]
    if not protocol.across:
        return protocol
    known = protocol.known_targets
    if not targets and source not in known:
        raise ConfigError(
            f"{unknown_name(f'source of {name}', source, known)}; for a source of your own set"
            " TARGETS (--targets) to the datasets to test on"
        )
    chosen = tuple(targets) or known[source]
    repeated = sorted({one for one in chosen if chosen.count(one) > 1 or one == source})
    if repeated:
        raise ConfigError(
            f"TARGETS names {', '.join(repeated)} twice, or names the source; give each target once"
        )
    return replace(protocol, targets=chosen)


def test_sets(spec: RunSpec, protocol: Protocol) -> dict[str, TestSet]:
    """Return what a run tests, by name; the first is what its training sees, too.

    Raises:
        DataError: there is no such dataset.
    """
    data = str(spec.data) if spec.data.is_dir() else ""

    def one(name: str, dataset: str, classes: str, role: str) -> TestSet:
        choice = dataset_config(dataset, data)
        quoted = (word if i % 2 == 0 else repr(word) for i, word in enumerate(choice.options))
        return TestSet(name, dataset, classes, role, choice.config, tuple(quoted))

    # parts of one dataset are named by their classes, whole datasets by their own names
    several = len(protocol.tests) > 1
    found = [
        one(classes if several else spec.dataset, spec.dataset, classes, SOURCE)
        for classes in protocol.tests
    ]
    found += [one(name, name, "all", TARGET) for name in protocol.targets]
    return {test.name: test for test in found}
