"""Configuration: every key with its default, as a yacs node."""

from __future__ import annotations

from .defaults import clean_cfg, get_cfg_default

__all__ = ["clean_cfg", "get_cfg_default"]
