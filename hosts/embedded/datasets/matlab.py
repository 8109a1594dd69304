"""Reading the MATLAB files that some datasets are published with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets._plugin import DataError


def read_mat(path: Path, variable: str) -> np.ndarray:
    """Return one variable of a `.mat` file, single-element axes removed, at least one axis left.

    Raises:
        DataError: the file cannot be read or lacks the variable.
    """
    from scipy.io import loadmat  # takes a second to import, and most datasets do not need it

    try:
        content = loadmat(str(path), squeeze_me=True)
    except Exception as error:  # scipy raises a dozen kinds of errors on a damaged file
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); restore it") from error
    if variable not in content:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise DataError(
            f"{path} has no variable '{variable}' (it has: {found}); see docs/DATASETS.md"
        )
    return np.atleast_1d(content[variable])
