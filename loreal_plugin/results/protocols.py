"""The protocols: one row each, with everything in which they differ.

Only data stands here, so that runs, tables, sweeps and the command line can all read it. Which
pictures a protocol tests is worked out in `loreal_plugin.runs.protocol`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

SOURCE, TARGET = "source", "target"
HALVES = ("base", "new")
EVERY_CLASS = "all"
_ACROSS_EXAMPLES = (
    "maple 96",
    "maple 96 --dry-run",
    "coop 96 imagenet 1 --data ~/data",
    'maple 96 birds 1 --targets "my_drawings demo-sketch" --data ~/data',
)
# words of a target's slots are chosen when it is tested; no training knows the key
_ACROSS = frozenset({"TRAINER.LOREAL.TEST_ATTRIBUTES"})


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        name: of the sub-command, the output folder and the records.
        title: the paper's name, at the head of a run's table.
        section: the title of its section on the report's page.
        unit: label of the accuracy axis of its plots.
        home: the protocol whose stages these are; `dg` tests what `xd` has trained.
        train: folder of the stages in the home's folder.
        record: folder of the runs' records.
        classes: which classes are trained on, `base` or `all`.
        tests: which classes of its own dataset are tested, in order; the first are trained on.
        task: the word that MMRL wants for it.
        script: the shell script that trains, without its ending; empty for none.
        trains: whether anything is trained.
        shots: the numbers of shots that one call goes through; none: one number.
        known_targets: source -> the datasets that are tested beside it.
        targets: the datasets that this run tests beside its source.
        at_test: the LOREAL keys that only tests know.
        help: one line for the list of sub-commands.
        notes: what its --help says first.
        examples: words of a call after its name.
    """

    name: str
    title: str
    section: str
    unit: str
    home: str
    train: str
    record: str
    classes: str
    tests: tuple[str, ...]
    task: str
    script: str
    trains: bool = True
    shots: tuple[int, ...] = ()
    known_targets: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    targets: tuple[str, ...] = ()
    at_test: frozenset[str] = frozenset()
    help: str = ""
    notes: str = ""
    examples: tuple[str, ...] = ()

    @property
    def halves(self) -> bool:
        """Return whether base classes are trained on and new ones tested too."""
        return self.tests == HALVES

    @property
    def names_target(self) -> bool:
        """Return whether folders of tests name the dataset that is tested."""
        return self.across or not self.trains

    @property
    def record_is_stage(self) -> bool:
        """Return whether a run's record is that of its last stage, and not one of its own."""
        return self.record == self.train

    @property
    def across(self) -> bool:
        """Return whether other datasets than the source are tested."""
        return bool(self.known_targets)


BASE2NEW = Protocol(
    name="base2new",
    title="LR-B2N",
    section="LR-B2N: base to new classes",
    unit="HM (%)",
    home="base2new",
    train="train_base",
    record="train_base",
    classes="base",
    tests=HALVES,
    task="B2N",
    script="base2new_train",
    help="train alpha, beta and LOREAL on base classes, test base and new classes, print the table",
    notes="""\
DATASET is a name of configs/datasets/ or a folder of DATA with one sub-folder a class; SEED is a
whole number.

The stages are alpha, beta and loreal, and two of our own, which the presets paper and authors
leave out: adapt and adapted. KEY VALUE pairs after -- override the recipes:
  a KEY that no line below names  all stages
  host:KEY                        alpha and beta; keys of INPUT, MODEL and the method's own node
                                  the others, too, whose students they describe
  beta:KEY                        beta (the row of the host at PHI is then of that training)
  TRAINER.LOREAL.KEY, loreal:KEY  loreal, and adapt, which reads the keys ADAPT... of these
  adapted:KEY                     adapt and adapted
Where two of these give a stage one key, the lower line counts, in whatever order they are written.
How positions are resampled (PRESET, POSITION_RESAMPLING) holds for all stages.

--until beta stops after beta and prints the rows that exist: for choosing a host's recipe, and
for "the host at PHI trained on for longer".""",
    examples=(
        "maple 96",
        "coop 144 caltech101 2 --data ~/data",
        "mmrl 96 demo 1 -- TRAINER.LOREAL.BRIDGE self",
        "maple 96 demo 1 --until beta -- beta:OPTIM.MAX_EPOCH 10",
    ),
)
XD = Protocol(
    name="xd",
    title="LR-CE",
    section="LR-CE: from one dataset to others",
    unit="target average (%)",
    home="xd",
    train="train",
    record="run",
    classes=EVERY_CLASS,
    tests=(EVERY_CLASS,),
    task="CD",
    script="xd",
    known_targets={
        "imagenet": (
            "caltech101",
            "oxford_pets",
            "stanford_cars",
            "oxford_flowers",
            "food101",
            "fgvc_aircraft",
            "sun397",
            "dtd",
            "eurosat",
            "ucf101",
        ),
        "demo": ("demo-textures", "demo-marks", "demo-shapes", "demo-frames"),
    },
    at_test=_ACROSS,
    help="train on one dataset, test on datasets of other classes",
    notes="""\
trained on ImageNet, tested on the ten other benchmarks; demo: on things sorted in other ways.
DATASET is the source, all of its classes are trained on. xd and dg share all stages.
On a target, the words of the slots are those of the source; the target's own with
-- TRAINER.LOREAL.TEST_ATTRIBUTES target.""",
    examples=_ACROSS_EXAMPLES,
)
DG = replace(
    XD,
    name="dg",
    title="LR-DG",
    section="LR-DG: from one domain to others",
    script="dg",
    known_targets={
        "imagenet": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
        "demo": ("demo-fresh", "demo-sketch", "demo-clutter", "demo-palette"),
    },
    help="train on one dataset, test on other renderings of its classes",
    notes="""\
trained on ImageNet, tested on V2, Sketch, A and R; demo: on fresh pictures, drawings, clutter,
other colours. DATASET is the source, all of its classes are trained on. The stages are those of xd.
On a target, the words of the slots are those of the source; the target's own with
-- TRAINER.LOREAL.TEST_ATTRIBUTES target.""",
)
FEW_SHOT = Protocol(
    name="few_shot",
    title="Few-shot",
    section="Few-shot: all classes",
    unit="accuracy (%)",
    home="few_shot",
    train="train",
    record="run",
    classes=EVERY_CLASS,
    tests=(EVERY_CLASS,),
    task="FS",
    script="few_shot",
    shots=(1, 2, 4, 8, 16),
    help="train on few pictures of all classes, for several numbers of pictures",
    notes="""\
SHOTS (--shots) is one number or several, separated by spaces or commas; without it 1 2 4 8 16. Each
number is a run of its own with its own results.json.""",
    examples=("maple 96", 'coop 96 demo 1 --shots "1 4"'),
)
ZERO_SHOT = Protocol(
    name="zero_shot",
    title="Zero-shot",
    section="Zero-shot CLIP",
    unit="accuracy (%)",
    home="zero_shot",
    train="train",
    record="run",
    classes=EVERY_CLASS,
    tests=(EVERY_CLASS, *HALVES),
    task="FS",
    script="zero_shot",
    trains=False,
)
FIT = replace(
    FEW_SHOT,
    name="fit",
    title="Own pictures",
    section="Own pictures: all classes",
    home="fit",
    script="",
    shots=(),
)
# in the order of the report's page
PROTOCOLS = {row.name: row for row in (BASE2NEW, XD, DG, FEW_SHOT, ZERO_SHOT, FIT)}
# `fit` has a command of its own, in which a folder takes the place of a benchmark
TRAINED = {name: row for name, row in PROTOCOLS.items() if row.trains and row.script}
ACROSS = {name: row for name, row in PROTOCOLS.items() if row.across}


def judged(names: Iterable[str], roles: Mapping[str, str]) -> list[str]:
    """Return the test sets that a summary is over: the targets, or all where none is a target.

    Args:
        names: of the test sets.
        roles: `source` or `target` by test set; nothing for base-to-new.
    """
    every = list(names)
    return [name for name in every if roles.get(name) == TARGET] or every


def own_targets(name: str, source: str, targets: Iterable[str]) -> tuple[str, ...]:
    """Return the targets of a run, sorted, where they are others than those of its source.

    Args:
        name: of the protocol.
        source: the dataset that is trained on.
        targets: the datasets that are tested beside it; none: those of the source.
    """
    protocol, found = PROTOCOLS.get(name), set(targets)
    known = protocol.known_targets.get(source, ()) if protocol else ()
    return () if found == set(known) else tuple(sorted(found))


def source_of(target: str) -> tuple[str, str]:
    """Return the protocol of which a dataset is a known target, and its source; empty for none."""
    for row in (DG, XD):
        for source, targets in row.known_targets.items():
            if target in targets:
                return row.name, source
    return "", ""
