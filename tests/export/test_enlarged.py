"""A student that enlarges its pictures takes that with it: a package gets them at phi."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from untrained import untrained

from loreal_plugin.export.encoder import PixelEncoder, export_encoder


def test_the_encoder_enlarges_pictures_itself():
    import onnxruntime

    deployed = untrained("coop", "static")
    size = deployed.beta.encoder_size
    deployed.model.beta = replace(deployed.beta, input_size=size // 2)
    session = onnxruntime.InferenceSession(export_encoder(deployed).SerializeToString())
    side = deployed.phi
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = PixelEncoder(deployed)(torch.from_numpy(pixels)).numpy()
    (found,) = session.run(None, {"pixels": pixels})
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-5
