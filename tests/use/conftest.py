"""Packages of untrained models, to name pictures with."""

from made_packages import package_of, picture_files  # noqa: F401  (fixtures)
