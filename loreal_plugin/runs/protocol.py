"""What the protocols differ in: which classes are trained on, what is tested, where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.data import dataset_config
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.runs.spec import RunSpec

SOURCE, TARGET = "source", "target"
ALL_SHOTS = (1, 2, 4, 8, 16)
# targets of a source, by protocol; other sources name theirs (TARGETS)
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "xd": {
        "imagenet": (
            *(
                "caltech101",
                "oxford_pets",
                "stanford_cars",
                "oxford_flowers",
                "food101",
                "fgvc_aircraft",
            ),
            *("sun397", "dtd", "eurosat", "ucf101"),
        ),
        "demo": ("demo-textures", "demo-marks", "demo-shapes", "demo-frames"),
    },
    "dg": {
        "imagenet": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
        "demo": ("demo-fresh", "demo-sketch", "demo-clutter", "demo-palette"),
    },
}


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    `home` is the protocol whose stages these are (dg tests what xd has trained), `train` their
    folder in it, `task` the word that MMRL wants for it, `at_test` the LOREAL keys that only tests
    know.
    """

    name: str
    title: str
    home: str
    train: str
    classes: str
    task: str
    targets: tuple[str, ...] = ()
    at_test: frozenset[str] = frozenset()

    @property
    def halves(self) -> bool:
        """Return whether base classes are trained on and new ones tested too."""
        return self.classes == "base"


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


BASE2NEW = Protocol("base2new", "LR-B2N", "base2new", "train_base", "base", "B2N")
FEW_SHOT = Protocol("few_shot", "few-shot", "few_shot", "train", "all", "FS")
ZERO_SHOT = Protocol("zero_shot", "zero-shot", "zero_shot", "train", "all", "FS")
_ACROSS = frozenset({"TRAINER.LOREAL.TEST_ATTRIBUTES"})
_XD = Protocol("xd", "LR-CE", "xd", "train", "all", "CD", at_test=_ACROSS)
_DG = Protocol("dg", "LR-DG", "xd", "train", "all", "CD", at_test=_ACROSS)


def across(name: str, source: str, targets: Sequence[str] = ()) -> Protocol:
    """Return protocol `xd` or `dg` for a source dataset.

    Args:
        targets: names of datasets; none = those that belong to the source.

    Raises:
        ConfigError: nothing is known of the source and no targets are named, or one is named twice
            or is the source.
    """
    known = TARGETS[name]
    if not targets and source not in known:
        raise ConfigError(
            f"{unknown_name(f'source of {name}', source, known)}; for a source of your own set"
            " TARGETS (--targets) to the datasets to test on"
        )
    chosen = tuple(targets) or known[source]
    double = sorted({one for one in chosen if chosen.count(one) > 1 or one == source})
    if double:
        raise ConfigError(
            f"TARGETS names {', '.join(double)} twice, or names the source; give each target once"
        )
    base = {"xd": _XD, "dg": _DG}[name]
    return Protocol(**{**vars(base), "targets": chosen})


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

    if protocol.halves:
        return {half: one(half, spec.dataset, half, SOURCE) for half in ("base", "new")}
    if protocol is ZERO_SHOT:
        return {
            classes: one(classes, spec.dataset, classes, SOURCE)
            for classes in ("all", "base", "new")
        }
    found = [one(spec.dataset, spec.dataset, "all", SOURCE)]
    return {
        test.name: test
        for test in [*found, *(one(name, name, "all", TARGET) for name in protocol.targets)]
    }
