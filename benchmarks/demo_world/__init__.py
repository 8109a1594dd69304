"""How the demonstration CLIP is made and checked; the package has the world and the finished files.

`captions` describes the pictures, `pool` draws those of pre-training, `pretrain` trains a CLIP on
them, `build` packs it, `checks` measures what the world is good for.
"""
