"""CoOp, MaPLe, MultiModalAdapter and MMRL; importing a module registers its trainer."""
