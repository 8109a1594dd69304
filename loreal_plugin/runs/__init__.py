"""Runs: stages, their keys, folders and records; opening a finished run; rivals, calibration."""
