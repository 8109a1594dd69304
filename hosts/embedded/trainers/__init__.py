"""CoOp, MaPLe, MultiModalAdapter and MMRL, each in its module; importing a module registers its
trainer.
"""
