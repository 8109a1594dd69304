"""The pictures of a run's dataset: to calibrate numbers on, and to compare a package with its run.

A run opens without any; then folders that are named serve for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.edge.stream import files_in
from loreal_plugin.errors import LorealError
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.reopen import reopened_engine
from loreal_plugin.runs.trained_run import TrainedRun


@dataclass(frozen=True)
class Pictures:
    """Files, and what they are.

    Attributes:
        training: the run was trained on them; numbers are calibrated on them.
        held_out: no training saw them; a package is compared with its run on them.
        where: where they come from, in words, or why there are none.
        engine: of the run, where its dataset is there.
    """

    training: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    where: str = ""
    engine: Engine | None = None


def pictures_of(
    trained: TrainedRun,
    named: Sequence[str] = (),
    *,
    host: str | None = None,
    data: str | None = None,
) -> Pictures:
    """Return the pictures of a run's dataset, or the named ones.

    Args:
        named: files and folders; they replace the dataset's, half of them for each purpose, one
            alone for both.
        host, data: where the host's checkout and the datasets lie.

    Raises:
        DataError: a named folder has no picture.
    """
    if named:
        files = [str(path) for path in files_in(named)]
        return Pictures(tuple(files[::2]), tuple(files[1::2] or files), "pictures that were named")
    try:
        engine = reopened_engine(trained, host=host, data=data, say=lambda text: None)
        with using_weights(trained.weights), saves_held_back():
            found = engine.identity.dataset(engine.plan.source)
        training = tuple(item.impath for item in found.train_x)
        tested = tuple(item.impath for item in (found.test or found.val))
        missing = [path for path in (*training[:1], *tested[:1]) if not Path(path).is_file()]
        if missing:
            return Pictures(where=f"the dataset's pictures are not there ({missing[0]})")
    except LorealError as error:
        return Pictures(where=f"the run's dataset cannot be read here ({error})")
    kind = "test" if found.test else "validation"
    where = f"{kind} pictures of {trained.record['dataset']}"
    return Pictures(training, tested, where, engine)


def spread(paths: Sequence[str], count: int) -> list[str]:
    """Return `count` paths, evenly spread over all of them; all where there are fewer."""
    if count >= len(paths):
        return list(paths)
    return [paths[i * len(paths) // count] for i in range(count)]
