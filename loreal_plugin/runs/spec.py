"""The description of one run: what the scripts' arguments and environment ask for, checked before
anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.contract.trainer_names import unknown_trainer
from loreal_plugin.data.demo import DEMO_DATASETS, DEMO_WEIGHTS
from loreal_plugin.errors import ConfigError, DataError, HostError, near_name, unknown_name
from loreal_plugin.paths import bundle_root, cache_root, embedded_host

DEFAULT_SHOTS = "16"
SCOPES = ("all", "host", "beta", "loreal", "adapted")
STAGES = ("alpha", "beta", "loreal", "adapt", "adapted")
# the paper's stages; the others are our own addition
PUBLISHED = STAGES[:3]
# which stages see an override of a scope
REACH = {
    "all": STAGES,
    "host": ("alpha", "beta"),
    "beta": ("beta",),
    # the keys of the adaptation are LOREAL's; what stands on the adapted student is not
    "loreal": ("loreal", "adapt"),
    "adapted": ("adapt", "adapted"),
}
ALPHA_EPOCH = "TRAINER.LOREAL.ALPHA_EPOCH"

# keys that the protocol sets itself, and the argument or variable that steers each
PROTOCOL_KEYS = {
    "INPUT.SIZE": "the argument PHI",
    "TRAINER.LOREAL.PHI": "the argument PHI",
    "TRAINER.LOREAL.ALPHA_DIR": "stage 1",
    "TRAINER.LOREAL.BETA_DIR": "stage 2",
    "TRAINER.LOREAL.ADAPT_DIR": "the stage 'adapt'",
    "TRAINER.NAME": "the argument METHOD",
    "DATASET.NAME": "the argument DATASET",
    "DATASET.ROOT": "DATA",
    "DATASET.NUM_SHOTS": "SHOTS",
    "DATASET.SUBSAMPLE_CLASSES": "the protocol",
    "MODEL.BACKBONE.NAME": "CLIP_WEIGHTS",
    "OUTPUT_DIR": "OUT",
    "RESUME": "the protocol (it resumes by itself)",
    "SEED": "the argument SEED",
    "TASK": "the protocol",
    # the table is made of the last epoch's accuracy on the test split
    "TEST.FINAL_MODEL": "the protocol (the last epoch)",
    "TEST.NO_TEST": "the protocol (every row is tested)",
    "TEST.SPLIT": "the protocol (the test split)",
    "TEST.EVALUATOR": "the protocol (accuracy)",
}


@dataclass(frozen=True)
class Override:
    """One `KEY VALUE` of the command line; `scope` says which stages see it (see `REACH`)."""

    scope: str
    key: str
    value: str

    def reaches(self, stage: str) -> bool:
        """Return whether a stage (one of `STAGES`) sees it.

        Which epoch of stage 1 is alpha holds for both students that learn from alpha.
        """
        alpha = (self.scope, self.key, stage) == ("loreal", ALPHA_EPOCH, "adapted")
        return alpha or stage in REACH[self.scope]


@dataclass(frozen=True)
class RunSpec:
    """Everything that names one run, the protocol apart."""

    method: str
    phi: int
    dataset: str
    seed: int
    shots: int
    host: Path
    data: Path
    out: Path
    weights: str
    recipe: str
    overrides: tuple[Override, ...] = ()

    def overrides_for(self, stage: str) -> list[Override]:
        """Return the overrides that a stage (one of `STAGES`) sees, those of narrower scopes last.

        Within a scope they stand in command-line order; of two of one key the last one counts. The
        stages after 2 build the students again, so what describes them for the host stages
        describes them there too.
        """
        later = stage not in REACH["host"]
        found = [
            o
            for o in self.overrides
            if o.reaches(stage) or (later and o.scope == "host" and describes_student(o.key))
        ]
        return sorted(found, key=narrowness)


def build_spec(
    method: str,
    phi: str,
    dataset: str = "demo",
    seed: str = "1",
    *,
    host: str | None = None,
    data: str | None = None,
    out: str | None = None,
    shots: str | None = None,
    weights: str | None = None,
    recipe: str | None = None,
    opts: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
) -> RunSpec:
    """Return the run that the arguments ask for; an argument left out is taken from `env` (DATA,
    HOST, OUT, ...).

    Raises:
        ConfigError: a method, number or override that cannot be used.
        DataError: DATA is needed and missing.
        HostError: HOST is no folder.
    """
    if method.lower() not in CONTRACTS:
        raise ConfigError(
            unknown_trainer("method", method, CONTRACTS, find_host(host or env.get("HOST") or ""))
        )
    dataset, data = place_dataset(dataset, data or env.get("DATA") or "")
    chosen = (
        weights or env.get("CLIP_WEIGHTS") or ("demo" if dataset in DEMO_DATASETS else "ViT-B/16")
    )
    recipe = recipe or env.get("RECIPE") or ("demo" if chosen in DEMO_WEIGHTS else "vit_b16")
    return RunSpec(
        method=method.lower(),
        phi=whole_number("PHI", phi, minimum=1),
        dataset=dataset,
        seed=whole_number("SEED", seed, minimum=0, maximum=2**32 - 1),  # as numpy takes it
        shots=whole_number("SHOTS", shots or env.get("SHOTS") or DEFAULT_SHOTS, minimum=1),
        host=find_host(host or env.get("HOST") or ""),
        data=find_data(data, dataset),
        out=Path(out or env.get("OUT") or "output").expanduser().resolve(),
        weights=chosen,
        recipe=recipe,
        overrides=parse_overrides(opts),
    )


def last_stage() -> str:
    """Return the stage that runs stop after where nothing is said: UNTIL's, else the last.

    Raises:
        ConfigError: UNTIL names no stage.
    """
    asked = os.environ.get("UNTIL") or STAGES[-1]
    if asked not in STAGES:
        raise ConfigError(unknown_name("stage in UNTIL", asked, STAGES))
    return asked


def whole_number(name: str, text: str, *, minimum: int, maximum: int | None = None) -> int:
    """Return `text` as a whole number from `minimum` to `maximum`, or raise ConfigError naming
    `name`.
    """
    if not str(text).isascii() or not str(text).isdigit() or int(text) < minimum:
        raise ConfigError(f"{name} must be a whole number of at least {minimum}, not '{text}'")
    if maximum is not None and int(text) > maximum:
        raise ConfigError(f"{name} must be at most {maximum}, not '{text}'")
    return int(text)


def find_host(text: str) -> Path:
    """Return the host folder: the embedded one for an empty text; a relative path is tried here,
    then in the project.

    Raises:
        HostError: there is no such folder, or it has no train.py.
    """
    if not text:
        return embedded_host()
    path = Path(text).expanduser()
    for folder in (path, bundle_root() / path):
        # half a checkout is looked at too, so that all that it lacks is said at once
        if (folder / "train.py").is_file() or (folder / "trainers").is_dir():
            return folder.resolve()
    fault = "is no folder"
    if path.is_dir():
        names = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
        fault = f"has no train.py and no trainers/ (it has: {', '.join(names[:8]) or 'nothing'})"
    raise HostError(
        f"HOST '{text}' {fault}; give the root of a CoOp-family checkout, or leave it empty"
    )


def place_dataset(text: str, data: str) -> tuple[str, str]:
    """Return DATASET and DATA where a dataset is named with a slash: `mypets/`, or as a path.

    Raises:
        DataError: it is a path at which there is no folder.
    """
    name = text.rstrip("/") or text
    if "/" not in name:
        return name, data
    for path in (Path(data).expanduser() / name, Path(name).expanduser()):
        if path.is_dir():
            return path.name, str(path.parent)
    below = f" nor below DATA '{data}'" if data else ""
    raise DataError(
        f"dataset '{text}' is a path, and there is no such folder{below}; name a folder with one"
        " folder per class, or a dataset of configs/datasets/"
    )


def find_data(text: str, dataset: str) -> Path:
    """Return the dataset root; only the demo has a default, the local cache.

    Raises:
        DataError: DATA is needed and not given, or is no folder.
    """
    if not text and dataset in DEMO_DATASETS:
        return cache_root()
    if not text:
        near = near_name(dataset, DEMO_DATASETS)
        guess = f"; did you mean '{near}', which needs none?" if near else ""
        raise DataError(
            f"dataset '{dataset}' needs DATA: set DATA (or --data) to the folder that holds the"
            f" datasets{guess}"
        )
    path = Path(text).expanduser()
    if not path.is_dir() and dataset not in DEMO_DATASETS:
        raise DataError(f"DATA '{text}' is no folder; set it to the folder that holds the datasets")
    return path.resolve()


def narrowness(override: Override) -> int:
    """Return where an override stands among those of a stage: of one key the last one counts."""
    return {"host": 1, "beta": 2, "loreal": 2, "adapted": 3}.get(override.scope, 0)


def describes_student(key: str) -> bool:
    """Return whether a key says what a host's model is or reads, and not how it is trained."""
    ours = key.startswith("TRAINER.LOREAL.")
    return key.startswith(("INPUT.", "MODEL.", "TRAINER.")) and not ours


def parse_overrides(opts: Sequence[str]) -> tuple[Override, ...]:
    """Return `KEY VALUE KEY VALUE ...` as overrides; `host:`, `beta:`, `loreal:` and
    `adapted:KEY` narrow the scope.

    Raises:
        ConfigError: an odd number of words, an unknown scope, or a key that the protocol sets
            itself.
    """
    if len(opts) % 2:
        raise ConfigError(f"overrides are pairs KEY VALUE; '{opts[-1]}' has no value")
    found = []
    for name, value in zip(opts[::2], opts[1::2], strict=True):
        scope, _, key = name.rpartition(":")
        scope = scope or ("loreal" if key.startswith("TRAINER.LOREAL.") else "all")
        if scope not in SCOPES:
            raise ConfigError(unknown_name("override scope", scope, SCOPES))
        if key in PROTOCOL_KEYS:
            raise ConfigError(f"'{key}' cannot be overridden: it is set by {PROTOCOL_KEYS[key]}")
        found.append(Override(scope, key, value))
    return tuple(found)
