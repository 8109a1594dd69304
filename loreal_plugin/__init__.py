"""LOREAL: low-resolution prompt learning as a plug-in for CoOp-family code bases."""

__version__ = "0.1.0"
