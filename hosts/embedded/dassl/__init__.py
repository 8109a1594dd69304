"""The part of Dassl's interface that CoOp-family trainers use, written anew for current PyTorch.

Same names, signatures, configuration keys, files and log lines as Dassl 0.6.3 (Zhou et al.,
https://github.com/KaiyangZhou/Dassl.pytorch), so that a trainer written for it runs here unchanged.
What is left out: backbones, ready-made domain adaptation trainers and data sets.
"""

from __future__ import annotations

__version__ = "0.6.3+embedded"
