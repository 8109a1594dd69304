"""The demonstration world: pictures drawn by code, and the weights of a small CLIP of its own.

`world` says what there is, `render` draws it, `targets` and `styles` draw other worlds, `pictures`
keeps the pictures on disk, `weights` reads the packed CLIP. How that CLIP is made is in the
checkout, in `benchmarks/demo_world/`.
"""
