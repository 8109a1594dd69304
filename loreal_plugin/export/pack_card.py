"""The card of a packed run, README.md."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from loreal_plugin.export.card import LICENCES, WHEEL, accuracy_table, facts_table, shown_classes
from loreal_plugin.export.describe import rows_of

_HEAD = """\
---
library_name: loreal-plugin
pipeline_tag: image-classification
tags: [loreal, clip, prompt-learning, low-resolution]
---"""

_USE = """\
```bash
pip install {wheel}
loreal predict {folder} picture.jpg folder/of/pictures{weights}
loreal export {folder} --out package --check 0{weights}    # for a device, without torch
loreal verify {folder}
```

```python
import loreal_plugin

model = loreal_plugin.load_run({name}{argument})
print(model.predict(["picture.jpg"]))
```"""

_LIMITS = """\
- Every answer is one of the classes, also for a picture of something else.
- The probabilities are a softmax of logits and were not calibrated.
- Accuracies are those of the run, on its test pictures, on the machine that trained it."""


def pack_card(
    config: Mapping[str, Any], record: Mapping[str, Any], folder: str, *, packed: bool
) -> str:
    """Return the card as Markdown.

    Args:
        config: what `config.json` says.
        record: of the run; one of a stage has no table.
        folder: name of the packed run.
        packed: the CLIP weights are in it.
    """
    weights, host = config["weights"], config["host"]["name"]
    ready = packed or weights["name"] in ("demo", "demo-2")
    here = "packed" if packed else "in every installation" if ready else "not packed"
    side = "adapted" if config["stage"] == "adapted" else "the host's"
    facts = [
        ["method", config["method"]],
        ["input", f"{config['phi']} x {config['phi']} pixels, RGB"],
        ["classes", shown_classes(config["classes"])],
        ["image side", side],
        ["attributes", ", ".join(map(str, config["attributes"] or ()))],
        ["trained on", f"{config['dataset']}, {config['shots']} shots, seed {config['seed']}"],
        ["CLIP weights", f"{weights['name']} ({here}), sha256 of tensors {weights['sha256']}"],
        ["host", host if host == "embedded" else f"{host}: --host names that checkout"],
        ["run", config["key"]],
    ]
    use = _USE.format(
        wheel=WHEEL,
        folder=shlex.quote(folder),
        name=_text(folder),
        weights="" if ready else f" --weights {shlex.quote(weights['name'])}",
        argument="" if ready else f", weights={_text(weights['name'])}",
    )
    rows = rows_of(record)
    parts = [_HEAD, f"# {config['trainer'].replace('_', ' + ')} at {config['phi']} pixels"]
    parts += [facts_table(facts), "## Use", use]
    parts += ["## Accuracy", accuracy_table(rows)] if rows else []
    parts += ["## Limits", _LIMITS, "## Licences"]
    return "\n\n".join([*parts, LICENCES.format(licence=weights["licence"])]) + "\n"


def _text(name: str) -> str:
    """Return a name as a text of Python."""
    return json.dumps(name, ensure_ascii=False)
