"""The method: the whole of LOREAL on tensors. Knows no host and no files.

Read `loreal.py` first, which puts the parts together, then what it uses:
`meta_nets.py` (image embedding -> contents of the slots), `slots.py` (slots in a prompt),
`bridge.py` (whose embedding fills whose prompt), `losses.py`, `correction.py` (ours alone).
`adaptation.py` stands beside the method: ours, for beta's image side (key ADAPT).
"""
