"""The command line `loreal`: one sub-command a module, wrong input in one line."""

from __future__ import annotations

from loreal_plugin.cli.main import entry, main

__all__ = ["entry", "main"]
