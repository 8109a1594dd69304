"""Pictures without labels: the files below a folder, in an order that does not change."""

from __future__ import annotations

from pathlib import Path

from loreal_plugin.data.items import check_names
from loreal_plugin.errors import DataError
from loreal_plugin.files import listing

SHOTS = "shots"  # the value of ADAPT_PICTURES that means the training pictures


def unlabelled_pictures(
    folder: Path, name: str = "ADAPT_PICTURES", *, needed: bool = True
) -> list[Path]:
    """Return the visible picture files below a folder, sorted; links to files are followed.

    The order is part of keys: it is that of the whole paths.

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
    found = sorted(map(Path, listing.pictures_below(folder)))
    if needed and not found:
        endings = ", ".join(listing.PICTURE_ENDINGS)
        raise DataError(f"there is no picture below {folder} (looked for {endings})")
    check_names((str(path) for path in found), folder)
    return found
