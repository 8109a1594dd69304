"""Packages of untrained models."""

from made_packages import package_of, picture_files, pixels  # noqa: F401  (fixtures)
