"""Many runs from one plan: expanded, skipped where complete, run here or as a SLURM array, reported
at the end.
"""
