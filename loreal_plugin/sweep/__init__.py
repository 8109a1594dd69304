"""Many runs from one plan, made here or as a SLURM array, with a report at the end."""
