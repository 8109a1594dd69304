"""The demonstration world: pictures drawn by code, and a small CLIP pre-trained on them.

`world` says what there is, `render` draws it, `captions` describes it, `pretrain` trains a CLIP on
it, `weights` packs that CLIP, `pictures` keeps the pictures on disk, `checks` measures what the
world is good for.
"""
