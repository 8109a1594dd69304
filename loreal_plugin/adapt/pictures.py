"""Pictures without labels: the files below a folder, in an order that does not change."""

from __future__ import annotations

import os
from pathlib import Path

from loreal_plugin.data.items import check_names
from loreal_plugin.errors import DataError
from loreal_plugin.files.listing import PICTURE_ENDINGS

SHOTS = "shots"  # the value of ADAPT_PICTURES that means the training pictures


def pictures_below(
    folder: Path, name: str = "ADAPT_PICTURES", *, needed: bool = True
) -> list[Path]:
    """Return the picture files below a folder, sorted; links to files are followed.

    Args:
        name: what the user calls the folder, for the message.
        needed: that there is none is an error.

    Raises:
        DataError: no such folder, or no picture in it; a name is not UTF-8.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        other = f", or '{SHOTS}'" if name == "ADAPT_PICTURES" else ""
        raise DataError(f"{name} '{folder}' is no folder; give a folder of pictures{other}")
    found = sorted(
        Path(place) / file
        for place, _, files in os.walk(folder)
        for file in files
        if file.lower().endswith(PICTURE_ENDINGS) and not file.startswith(".")
    )
    if needed and not found:
        endings = ", ".join(PICTURE_ENDINGS)
        raise DataError(f"there is no picture below {folder} (looked for {endings})")
    check_names((str(path) for path in found), folder)
    return found
