"""Whose a stage's folder is: an interrupted run goes on there, any other is moved away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loreal_plugin.files import remove_unfinished
from loreal_plugin.results.record import RESULTS, STARTED, read_results, refuse_newer
from loreal_plugin.runs.folders import set_aside
from loreal_plugin.runs.journal import Journal


def claim(
    folder: Path, name: str, key: str, say: Callable[[str], None], *, random_state: bool
) -> Journal:
    """Make a stage's folder this run's and return its journal.

    The journal has `parts` where an interrupted run of the same key goes on there.

    Args:
        name: the stage's folder of checkpoints.
        key: of the stage.
        random_state: the training draws from the process's random state.

    Raises:
        CheckpointError: a newer release was at work there.
    """
    for file in (RESULTS, STARTED):
        refuse_newer(folder / file)
    # killed while it wrote this very file, a run leaves nothing that belongs to anybody
    remove_unfinished(folder / STARTED)
    journal = Journal(folder, name)
    if not folder.exists() or not any(folder.iterdir()):
        return journal
    finished = read_results(folder)
    owner = finished["key"] if finished else journal.key
    if owner == key and not finished:
        obstacle = journal.obstacle(random_state=random_state)
        if not obstacle:
            say(f"  an interrupted run of the same key (key {key[:8]}) goes on in {folder}")
            journal.drop_others()
            return journal
        say(f"  {obstacle}; the stage is trained again from its start")
    what = "what is damaged" if owner == key else "another run"
    say(f"  {folder} holds {what}; moved to {set_aside(folder, owner)}")
    return Journal(folder, name)
