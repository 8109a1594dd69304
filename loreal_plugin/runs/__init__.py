"""What is run, in which order, and what it leaves: stages, keys, folders, results, tables."""
