"""Five public repositories that the package has no row for: all stages, by rows from outside.

They lie beside the other checkouts, under the names that git gives them:
github.com/muzairkhattak/PromptSRC (bb95c77), htyao89/Textual-based_Class-aware_prompt_tuning
(bd97bec), htyao89/KgCoOp (c43ccc3), Koorye/DePT (d4ff416; it imports plotnine) and
ShuvenduRoy/CoPrompt (a2a6c12).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import DASSL, checkout, environment, state_of
from helpers import random_clip_file, tiny_image_folder
from miniatures import eurosat

pytestmark = [pytest.mark.hosts, pytest.mark.slow]
TCP = "Textual-based_Class-aware_prompt_tuning"
# method -> checkout, recipe, its options, shape of a CLIP that the method can be built on
HOSTS = {
    "promptsrc": ("PromptSRC", "demo", (), {}),
    # its rows come in before the ninth text block, and are of width 512
    "tcp": (TCP, "vit_b16", ("TRAINER.COOP.PREC", "fp32"), {"text_layers": 9, "text_width": 512}),
    "kgcoop": ("KgCoOp/KgCoOp", "demo", (), {}),
    "dept": ("DePT", "demo", ("TRAINER.LINEAR_PROBE.WEIGHT", "0.6"), {}),
    # twelve blocks for each data set it has texts for, and adapters of width 512
    "coprompt": (
        "CoPrompt",
        "vit_b16",
        ("TRAINER.CoPrompt.PREC", "fp32"),
        {"layers": 12, "text_layers": 12, "embed_dim": 512},
    ),
}
FOLDERS = {"coprompt": "eurosat"}
# logits of a student are the model's own, and both text paths agree, with random learned tensors
SIDE = """
import sys
from pathlib import Path
import torch
from tiny_hosts import RECIPES, tiny_student
from loreal_plugin.attach import attach_host
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.options import resolve_options
from loreal_plugin.students.student import with_slots

host, clip, method = sys.argv[1:]
row = CONTRACTS[method]
node = f"TRAINER.{row.cfg_node}"
RECIPES[method] = [*row.tiny_options, f"{node}.PREC", "fp32"]
RECIPES[method] += [f"{node}.N_CTX", "4"] if method == "tcp" else []
for size in (64, 32):
    student = tiny_student(attach_host(host, method), Path(clip), size=size)
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        want = student.model(images)
    found = student.host_logits(student.encode_image(images))
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-3)
    contents = torch.randn(2, 2, student.token_weight.shape[1]) / 10
    for order in row.slot_orders:
        texts = []
        for path in ("prefix", "reference"):
            given = {"n_attributes": 2, "text_path": path, "slot_order": order}
            slotted = with_slots(student, ("color", "shape"), resolve_options(given))
            texts.append(slotted.text_path(contents).detach())
        torch.testing.assert_close(*texts, rtol=1e-4, atol=1e-4)
        assert texts[0].std() > 0
print("agree")
"""
SHORT = ("OPTIM.MAX_EPOCH", "2", "DATALOADER.NUM_WORKERS", "0")
FEW = ("TRAINER.LOREAL.ADAPT_VIEWS", "2", "TRAINER.LOREAL.ADAPT_EPOCHS", "2")


def dassl_for(method: str, folder: Path) -> Path:
    """Return Dassl; for TCP a copy with the EPS of Adam that its README asks for."""
    if method == "kgcoop":  # an older fork
        return checkout("KgCoOp/Dassl.ProGrad.pytorch")
    if method != "tcp":
        return checkout(DASSL)
    copy = shutil.copytree(checkout(DASSL), folder / "dassl", ignore=shutil.ignore_patterns(".git"))
    file = copy / "dassl" / "optim" / "optimizer.py"
    pattern = r'(optim == "adam":.*?betas=\(adam_beta1, adam_beta2\),)'
    text, changed = re.subn(pattern, r"\1 eps=1e-3,", file.read_text(), count=1, flags=re.S)
    assert changed == 1
    file.write_text(text)
    return copy


@pytest.mark.parametrize("method", HOSTS)
def test_all_stages_run_on_an_untouched_checkout(method: str, tmp_path: Path) -> None:
    name, recipe, options, shape = HOSTS[method]
    if not checkout(name).is_dir():
        pytest.skip(f"no checkout {name} in LOREAL_TEST_HOSTS; the head of this file names it")
    before = state_of(checkout(name))
    tiny_image_folder(tmp_path / "data" / "pets", classes=4, per_class=6)
    eurosat(tmp_path / "data")
    env = environment(
        LOREAL_HOSTS="public_rows",
        HOST=str(checkout(name)),
        DASSL=str(dassl_for(method, tmp_path)),
        DATA=str(tmp_path / "data"),
        OUT=str(tmp_path / "out"),
        SHOTS="2",
        RECIPE=recipe,
        CLIP_WEIGHTS=str(random_clip_file(tmp_path, **shape)),
        LOREAL_CACHE=str(tmp_path / "cache"),
        UNTIL="adapted",
    )
    asked = [method, "32", FOLDERS.get(method, "pets"), "1"]

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "loreal_plugin", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    if method != "tcp":  # whose network is in half precision, and the doctor computes in float32
        assert re.search(r"prediction +as the host's own", said("doctor", *asked, "--verbose"))
    said("base2new", *asked, "--", *SHORT, *options, *FEW)
    assert state_of(checkout(name)) == before
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("results.json")]
    (whole,) = [record for record in records if len(record.get("rows", ())) == 5]
    for row in whole["rows"]:
        assert row["base"]["total"] > 0 and row["new"]["total"] > 0


@pytest.mark.parametrize("method", ["promptsrc", "tcp"])
def test_logits_and_text_paths_are_the_hosts(method: str, tmp_path: Path) -> None:
    name, _, _, shape = HOSTS[method]
    if not checkout(name).is_dir():
        pytest.skip(f"no checkout {name} in LOREAL_TEST_HOSTS; the head of this file names it")
    env = environment(LOREAL_HOSTS="public_rows", DASSL=str(checkout(DASSL)))
    env["LOREAL_CACHE"] = str(tmp_path / "cache")
    clip = random_clip_file(tmp_path, **shape)
    command = [sys.executable, "-c", SIDE, str(checkout(name)), str(clip), method]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0 and done.stdout.endswith("agree\n"), done.stderr[-3000:]
