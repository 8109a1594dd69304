"""A folder is put in its place as a whole; what a killed process prepared goes with the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loreal_plugin.files.folders import preparing, put_in_place
from loreal_plugin.paths import bundle_root


def put(place: Path, text: str) -> None:
    with preparing(place) as prepared:
        (prepared / "new").mkdir()
        (prepared / "new" / "file").write_text(text)
        put_in_place(prepared / "new", place, prepared)


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    place = tmp_path / "package"
    for text in ("one", "two"):
        put(place, text)
        assert os.listdir(tmp_path) == ["package"] and (place / "file").read_text() == text


def test_where_it_cannot_be_renamed_the_older_one_stays(tmp_path: Path) -> None:
    place = tmp_path / "package"
    put(place, "old")
    with preparing(place) as prepared, pytest.raises(FileNotFoundError):
        put_in_place(prepared / "nothing", place, prepared)
    assert os.listdir(tmp_path) == ["package"] and (place / "file").read_text() == "old"


def test_what_a_killed_process_prepared_goes_and_what_a_living_one_prepares_stays(
    tmp_path: Path,
) -> None:
    place = tmp_path / "package[1]"  # a name with letters that patterns use
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from loreal_plugin.files.folders import preparing\n"
        "with preparing(Path(sys.argv[1])) as part:\n"
        "    (part / 'half').touch()\n    print(flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(place)]
    with subprocess.Popen(command, cwd=bundle_root(), stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        put(place, "mine")
        assert len(os.listdir(tmp_path)) == 2
        other.send_signal(signal.SIGKILL)
    put(tmp_path / "package", "of another name")
    assert len(os.listdir(tmp_path)) == 3
    put(place, "again")
    assert sorted(os.listdir(tmp_path)) == ["package", "package[1]"]
    assert (place / "file").read_text() == "again"
