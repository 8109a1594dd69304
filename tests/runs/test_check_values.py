"""Values that a run refuses before it trains."""

from __future__ import annotations

import pytest

from loreal_plugin.errors import ConfigError
from loreal_plugin.runs.check_values import check_phi


def test_phi_has_to_be_below_the_native_size() -> None:
    check_phi(208, 224, "demo")
    for phi in (224, 384, 1_000_000):
        with pytest.raises(ConfigError, match=f"PHI {phi} is not below 224"):
            check_phi(phi, 224, "demo")
