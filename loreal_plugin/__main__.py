"""`python -m loreal_plugin`: the command line."""

from __future__ import annotations

import sys

from loreal_plugin.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
