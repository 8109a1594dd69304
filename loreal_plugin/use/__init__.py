"""For people with pictures and no interest in benchmarks: train on a folder, name pictures."""
