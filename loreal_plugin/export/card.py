"""The model card of a package, README.md."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from loreal_plugin.results.markdown import in_cell

_USE = """\
```bash
pip install numpy pillow {runtime}
pip install --no-deps {wheel}
python -m loreal_plugin.edge {folder} --selftest
python -m loreal_plugin.edge {folder} picture.jpg folder/of/pictures
```

```python
from loreal_plugin.edge import Package

print(Package.open({name}).predict(["picture.jpg"], top=3))
```

`sha256sum -c SHA256SUMS` checks the files without any of this."""

# no package index has it; `pip wheel --no-deps .` in the project's folder makes the wheel
WHEEL = "loreal_plugin-*.whl    # a wheel, or the folder, of the LOREAL plug-in"

_LIMITS = """\
- Every answer is one of the classes of the head, also for a picture of something else.
- The probabilities are a softmax of logits and were not calibrated.
- Accuracies are those of the run, on its test pictures, in float32 on the machine that trained it.
- Pictures have to be read as `loreal.json` says under `picture`: another resize changes answers."""

_RUNTIMES = {"onnx": "onnxruntime", "litert": "ai-edge-litert"}

LICENCES = """\
The model is made of the CLIP weights named above; their licence holds for it ({licence}).
What the training pictures' licence asks for holds as well. The LOREAL plug-in, which wrote the
rest, is under the MIT licence."""


def model_card(manifest: Mapping[str, Any], folder: str, megabytes: float) -> str:
    """Return the card as Markdown.

    Args:
        folder: name of the package.
        megabytes: size of all its files together.
    """
    run, first = manifest["run"], next(iter(manifest["heads"].values()))
    facts = [
        ["method", manifest["title"]],
        ["input", f"{manifest['phi']} x {manifest['phi']} pixels, RGB"],
        ["classes", shown_classes(first["labels"])],
        ["heads", ", ".join(f"{n} ({len(h['labels'])})" for n, h in manifest["heads"].items())],
        ["image side", run["image_side"]],
        ["inference mode", manifest["mode"]],
        ["format", {"onnx": "ONNX", "litert": "LiteRT"}[manifest["encoder"]["format"]]],
        ["precision", manifest["precision"]],
        ["size", f"{megabytes:.1f} MB"],
        ["trained on", f"{run['dataset']}, {run['shots']} shots, seed {run['seed']}"],
        ["CLIP weights", f"{run['weights']['name']}, sha256 {run['weights']['sha256'][:16]}..."],
        ["run", str(run["key"])[:16]],
    ]
    parts = [
        f"# {manifest['title']} at {manifest['phi']} pixels",
        facts_table(facts),
        "## Use",
        _USE.format(
            folder=shlex.quote(folder),
            name=json.dumps(folder, ensure_ascii=False),
            runtime=_RUNTIMES[manifest["encoder"]["format"]],
            wheel=WHEEL,
        ),
        "## Accuracy",
        _accuracy(manifest),
        "## Limits",
        _LIMITS,
        "## Licences",
        LICENCES.format(licence=run["weights"]["licence"]),
    ]
    return "\n\n".join(parts) + "\n"


def shown_classes(labels: Sequence[str]) -> str:
    """Return the first eight class names, and how many there are."""
    shown = ", ".join(labels[:8])
    return shown if len(labels) <= 8 else f"{shown}, ... ({len(labels)} in all)"


def facts_table(facts: Sequence[Sequence[str]]) -> str:
    """Return pairs of name and text as a Markdown table, with the texts escaped."""
    body = [[name, in_cell(str(said))] for name, said in facts]
    return str(tabulate(body, headers=["", ""], tablefmt="github", disable_numparse=True))


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the run's table as Markdown; rows as `describe.rows_of` gives them."""
    names = list(rows[0]["accuracy"])
    with_hm = any(row["hm"] is not None for row in rows)
    body = [
        [in_cell(row["label"]), *(row["accuracy"].get(name) for name in names)]
        + ([row["hm"]] if with_hm else [])
        for row in rows
    ]
    heads = ["accuracy of the run in %", *map(in_cell, names), *(["HM"] if with_hm else [])]
    return str(tabulate(body, headers=heads, tablefmt="github", floatfmt=".2f"))


def _accuracy(manifest: Mapping[str, Any]) -> str:
    rows, check = manifest["accuracy"]["rows"], manifest["accuracy"]["check"]
    parts = [accuracy_table(rows)] if rows else []
    if check:
        parts.append(
            f"This package gives the run's class in {check['agreement']:.1f} % of"
            f" {check['pictures']} {check['where']}; logits differ by up to"
            f" {check['largest']:.2g}. The run predicted in the mode {manifest['mode']}."
        )
    else:
        parts.append("The package was not compared with its run (`--check 0`).")
    return "\n\n".join(parts)
