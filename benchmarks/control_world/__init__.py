"""`demo-control`: a drawn world whose class names mean nothing without the light of the picture.

A positive control with pictures, a CLIP and the ordinary protocol; `benchmarks.control` is the one
by construction. `python -m benchmarks.control_world --help` makes the world, checks it and runs it.
"""
