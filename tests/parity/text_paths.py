"""Loads a trained stage 3 on its host and compares the logits of both text paths; started by a
test.

    python text_paths.py METHOD PHI DATASET KEY VALUE ...

Environment and words are those of the run. Prints `FOUND` and, in JSON: pictures and classes that
were tested, the largest difference of the logits as a share of the largest logit, and how many
pictures get the same class.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import torch

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.runs.stage_files import load_checkpoint
from loreal_plugin.students.student import with_slots

PATHS = ("prefix", "reference")


def trained(method: str, phi: str, dataset: str, opts: list[str]) -> Any:
    """Return the trainer of stage 3, with what it learned, for the new classes."""
    spec = build_spec(method, phi, dataset, "1", opts=opts)
    engine = prepare(spec, check_data=False)
    stage, row = engine.plan.stages["loreal"], engine.plan.row("loreal")
    with using_weights(spec.weights):
        trainer = engine._build(engine.resolve(stage, row, "new"))
        load_checkpoint(trainer, stage.folder, 1)
    return trainer


def logits_of(trainer: Any) -> dict[str, torch.Tensor]:
    """Return the logits of the test pictures by text path; images are embedded once."""
    model = trainer.model
    trainer.set_model_mode("eval")
    with torch.no_grad():
        batches = [trainer.parse_batch_test(batch)[0] for batch in trainer.test_loader]
        features = torch.cat([model.embed(images) for images in batches])
        found = {}
        for name in PATHS:
            options = replace(trainer.stage3.options, text_path=name)
            model.beta = with_slots(model.beta, trainer.stage3.words, options)
            found[name] = model.predict(features).double()
    return found


def main(words: list[str]) -> None:
    """Print what was found."""
    method, phi, dataset, *opts = words
    found = logits_of(trained(method, phi, dataset, opts))
    prefix, reference = (found[name] for name in PATHS)
    report = {
        "pictures": prefix.shape[0],
        "classes": prefix.shape[1],
        "difference": float((prefix - reference).abs().max() / reference.abs().max()),
        "same": int((prefix.argmax(1) == reference.argmax(1)).sum()),
    }
    print("FOUND " + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
