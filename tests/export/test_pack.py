"""A packed run opens where nothing else of it is, with both of its students."""

from __future__ import annotations

import inspect
import io
import json
import re
import shutil
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import random_clip_file, tiny_image_folder, whole_runs

import loreal_plugin
from loreal_plugin.attach import detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.edge.package import Package
from loreal_plugin.errors import CheckpointError
from loreal_plugin.export.machine_paths import without_paths
from loreal_plugin.export.pack_card import pack_card
from loreal_plugin.files import read_json
from loreal_plugin.files.archives import unpack
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.trainer.checkpoint import read_checkpoint

FAST = ("OPTIM.MAX_EPOCH", "2", "TRAINER.LOREAL.META_INIT", "default")
FAST += ("TRAINER.LOREAL.ADAPT_EPOCHS", "1", "TRAINER.LOREAL.ADAPT_VIEWS", "1")
ROOT = Path(__file__).resolve().parents[2]
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Made:
    """A run and what its two students said, kept after all of it but the pictures was removed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.picture = next(tiny_image_folder(root / "data" / "pics", 4, 8).rglob("*.png"))
        weights = random_clip_file(root)
        words = ["base2new", "coop", "32", "pics", "1", "--until", "adapted", "--shots", "2"]
        words += ["--data", str(root / "data"), "--out", str(root / "out"), "--recipe", "demo"]
        # settings that are paths
        attributes = shutil.copy(ROOT / "attributes" / "generic.json", root / "my words.json")
        places = ["TRAINER.LOREAL.ATTRIBUTES", str(attributes)]
        places += ["TRAINER.LOREAL.ADAPT_PICTURES", str(root / "data" / "pics")]
        assert main([*words, "--weights", str(weights), "--", *FAST, *places]) == 0
        (self.run,) = whole_runs(root / "out", "CoOp_LOREAL/phi32/*/seed1")
        self.said = {row: self.logits(self.run, row=row) for row in ("", "loreal", "adapted")}
        self.lone = root / "lone.zip"
        assert main(["pack", str(self.run), "--out", str(self.lone)]) == 0
        for row, name in (("", "a folder"), ("loreal", "b.zip"), ("adapted", "c.tar")):
            words = ["pack", str(self.run), "--out", str(root / name)]
            words += ["--row", row] if row else []
            assert main([*words, "--with-weights"]) == 0
        (root / "kept").mkdir()
        self.weights = weights.rename(root / "kept" / weights.name)
        self.run = (root / "out").rename(root / "moved") / self.run.relative_to(root / "out")

    @staticmethod
    def logits(path: Path, **named: str) -> torch.Tensor:
        model: Deployed = loreal_plugin.load_run(path, **named)
        with torch.no_grad():
            return model.logits(IMAGES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS", "DATA", "UNTIL"):
            patch.delenv(name, raising=False)
        patch.setenv("LOREAL_CACHE", str(root / "cache"))
        detach_host()
        yield Made(root)
        detach_host()


@pytest.mark.parametrize(("name", "row"), [("a folder", ""), ("b.zip", "loreal"), ("c.tar", "")])
def test_each_student_predicts_the_same_elsewhere(made: Made, tmp_path: Path, name: str, row: str):
    place = tmp_path / name
    (shutil.copytree if (made.root / name).is_dir() else shutil.copy)(made.root / name, place)
    assert torch.equal(made.logits(place), made.said[row])
    assert torch.equal(made.said[""], made.said["adapted"])
    assert not torch.equal(made.said[""], made.said["loreal"])


def test_verify_predict_export_and_head_take_it(made: Made, tmp_path: Path, capsys):
    said = []
    for name in ("a folder", "b.zip"):
        pack = str(made.root / name)
        assert main(["verify", pack]) == 0
        assert "0 damaged" in capsys.readouterr().out
        assert main(["predict", pack, str(made.picture), "--format", "json"]) == 0
        said.append(json.loads(capsys.readouterr().out)["classes"])
    assert said[0] and said[1] and said[0] != said[1]  # of two students
    words = ["export", pack, "--out", str(tmp_path / "package"), "--check", "0"]
    assert main(words) == 0 and (tmp_path / "package" / "encoder.onnx").is_file()
    # b.zip is LOREAL's student, the folder the adapted one
    for pack, fits in (("b.zip", True), ("a folder", False)):
        head = str(tmp_path / "head.onnx")
        assert main(["head", str(made.root / pack), "--classes", "new", "--out", head]) == 0
        if fits:
            Package.open(tmp_path / "package", head=head)
            continue
        with pytest.raises(CheckpointError, match="the run's other student.*--row"):
            Package.open(tmp_path / "package", head=head)


def test_a_pack_holds_what_is_needed_and_no_path_of_the_machine(made: Made, tmp_path: Path):
    names = zipfile.ZipFile(made.root / "b.zip").namelist()
    files = {name.removeprefix("b/") for name in names if not name.endswith("/")}
    inside = {name for name in files if "inference" not in name}
    own = {"README.md", "config.json", "results.json", "SHA256SUMS", "clip/tiny_clip.pt"}
    kept = {"model-2.safetensors", "deployment.json", "deployment.safetensors"}
    assert inside == own | {f"loreal/{name}" for name in kept}
    folder = made.root / "a folder"
    stored = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("b.zip", "c.tar"):
        unpack(made.root / name, tmp_path / name)
        stored |= {p: p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
    assert len(stored) > 20
    assert not [p for p, content in stored.items() if str(made.root).encode() in content]
    overrides = {key: value for _, key, value in read_json(folder / "results.json")["overrides"]}
    # the packed student has no slots: its record leaves out what stage 3 alone reads
    assert "TRAINER.LOREAL.ATTRIBUTES" not in overrides
    assert overrides["TRAINER.LOREAL.ADAPT_PICTURES"] == "pics"
    assert overrides["OPTIM.MAX_EPOCH"] == "2"
    options = read_checkpoint(folder / "loreal" / "model-1.safetensors")[1]["options"]
    assert options["alpha_dir"].startswith("base2new/train_base/pics/") and options["adapt_dir"]
    model = tmp_path / "b.zip" / "b" / "loreal" / "model-2.safetensors"
    assert read_checkpoint(model)[1]["options"]["attributes"] == "my words.json"
    config = read_json(folder / "config.json")
    assert config["stage"] == "adapted" and len(config["classes"]) == 2
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name") and "| + LOREAL, tested at 32" in card
    assert 'load_run("a folder")' in card


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/disk/me/OUT/base2new/train/x/seed1", "base2new/train/x/seed1"),
        ("/disk/me/secret/pictures/", "pictures"),
        ("../secret/pictures", "pictures"),
        ("~/pictures", "pictures"),
        ("C:\\Users\\me\\pictures", "pictures"),
        ("ViT-B/16", "ViT-B/16"),
        ("a photo of a", "a photo of a"),
        ("", ""),
    ],
)
def test_a_path_keeps_what_says_nothing_about_the_machine(text: str, left: str):
    kept = ["base2new/train/x/seed1"]
    assert without_paths({"a": [text, 1, None]}, kept) == {"a": [left, 1, None]}


def test_names_of_classes_cannot_break_the_card(made: Made):
    config = read_json(made.root / "a folder" / "config.json")
    record = read_json(made.root / "a folder" / "results.json")
    names = ["a|b", "<img src=x onerror=alert(1)>", "two\nlines", "[x](http://y)"]
    rows = [{"label": "a|b", "targets": {"<b>": {"accuracy": 50.0}}, "hm": None}]
    hostile = {**config, "classes": names, "dataset": "d|\n## Title", "attributes": ["c|d"]}
    card = pack_card(hostile, {**record, "rows": rows}, "it's here", packed=True)
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert "<img" not in card and "\n## Title" not in card and "](http" not in card
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3}
    assert "loreal verify 'it'\"'\"'s here'" in card and 'load_run("it\'s here")' in card


def test_without_weights_they_are_asked_for(made: Made, capsys):
    assert main(["predict", str(made.lone), str(made.picture)]) == 2
    assert "tiny_clip.pt" in capsys.readouterr().err
    weights = str(made.weights)
    assert torch.equal(made.logits(made.lone, weights=weights), made.said[""])


def test_a_place_that_is_taken_and_other_weights_are_refused(made: Made, tmp_path: Path, capsys):
    assert main(["pack", str(made.run), "--out", str(made.root / "b.zip")]) == 2
    assert "is there already" in capsys.readouterr().err
    out = tmp_path / "x"
    words = ["pack", str(made.run), "--out", str(out), "--with-weights", "--weights", "demo"]
    assert main(words) == 2 and "not those of the run" in capsys.readouterr().err
    assert main(["pack", str(tmp_path), "--out", str(out)]) == 2
    assert main(["pack", str(made.run), "--out", str(tmp_path / "p.tar.gz")]) == 2
    assert "give a folder, .zip or .tar" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_changed_bit_in_an_archive_is_named(made: Made, tmp_path: Path, capsys):
    tree = tmp_path / "tree"
    shutil.copytree(made.root / "a folder", tree / "run")
    notes = tree / "run" / "config.json"
    notes.write_bytes(notes.read_bytes().replace(b"adapted", b"adaptee", 1))
    bad = shutil.make_archive(str(tmp_path / "bad"), "zip", tree)
    for command in (["verify", bad], ["predict", bad, str(made.picture)]):
        assert main(command) == 2
        assert "config.json is not what was written; copy the archive" in capsys.readouterr().err
    weights = tree / "run" / "loreal" / "model-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert main(["predict", str(tree / "run"), str(made.picture)]) == 2
    assert "model-1.safetensors is not what was written" in capsys.readouterr().err


def test_hostile_archives_are_refused(made: Made, tmp_path: Path, capsys):
    for name, content in (("../../evil", b"x"), ("run/other.txt", b"x")):
        path = tmp_path / "hostile.tar"
        with tarfile.open(path, "w") as packed:
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            packed.addfile(facts, io.BytesIO(content))
        assert main(["predict", str(path), str(made.picture)]) == 2
        said = capsys.readouterr().err
        assert "leads out of the folder" in said or "holds 0 runs" in said
    assert not list(made.root.rglob("evil")) and not list((made.root / "cache").rglob(".new.*"))


class FakeHub(types.ModuleType):
    """Stands for huggingface_hub: notes what it was asked; the real hub was not contacted."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.asked: list[tuple[str, Any]] = []
        self.refuses = False

    def HfApi(self) -> FakeHub:
        return self

    def create_repo(self, repo: str, **named: Any) -> str:
        if self.refuses:
            raise OSError("401 Unauthorized")
        self.asked.append((repo, named))
        return f"https://huggingface.co/{repo}"

    def upload_folder(self, **named: Any) -> None:
        names = sorted(path.name for path in Path(named["folder_path"]).iterdir())
        self.asked.append((named["repo_id"], names))


def test_push_uploads_the_folder(made: Made, tmp_path: Path, capsys, monkeypatch):
    hub = FakeHub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    words = ["pack", str(made.run), "--push", "me/run", "--out"]
    assert main([*words, str(tmp_path / "one")]) == 0
    assert "uploaded: https://huggingface.co/me/run" in capsys.readouterr().out
    (_, made_as), (repo, names) = hub.asked
    assert made_as == {"private": True, "exist_ok": True} and repo == "me/run"
    assert names == ["README.md", "SHA256SUMS", "config.json", "loreal", "results.json"]
    hub.refuses = True
    assert main([*words, str(tmp_path / "two")]) == 2
    again = f"hf auth login, then hf upload me/run {tmp_path / 'two'} --private"
    assert f"401 Unauthorized; {again}" in capsys.readouterr().err


def test_a_push_that_cannot_be_is_refused_before_anything_is_written(
    made: Made, tmp_path: Path, capsys, monkeypatch
):
    words = ["pack", str(made.run), "--out", str(tmp_path / "x")]
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub())
    for repo in ("nonsense", "a/b/c", "a b/c", "/c"):
        assert main([*words, "--push", repo]) == 2
        assert f"OWNER/NAME, not '{repo}'" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "x.zip"), "--push", "me/run"]) == 2
    assert "without .zip" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main([*words, "--push", "me/run"]) == 2
    assert "pip install 'loreal-plugin[hub]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_hub_still_has_what_is_called():
    hub = pytest.importorskip("huggingface_hub", reason="not installed: its names are not compared")
    api = hub.HfApi
    inspect.signature(api.create_repo).bind(None, "me/run", private=True, exist_ok=True)
    inspect.signature(api.upload_folder).bind(
        None, repo_id="me/run", folder_path="x", commit_message="loreal pack"
    )


def test_a_row_that_no_run_has_is_refused_as_elsewhere(capsys: pytest.CaptureFixture[str]):
    assert main(["pack", "RUN", "--out", "x", "--row", "adaped"]) == 2
    assert "--row: invalid choice: 'adaped'" in capsys.readouterr().err
