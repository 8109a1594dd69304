"""A trained run opens alone, without dataset, cache and other stages, and predicts the same."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import random_clip_file, tiny_image_folder
from PIL import Image

import loreal_plugin
from loreal_plugin.attach import detach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.attach.host import AttachedHost
from loreal_plugin.attributes import load_attributes
from loreal_plugin.errors import CheckpointError, ConfigError, DataError, WeightsError
from loreal_plugin.files import read_json, write_checked
from loreal_plugin.results.answers import pack_bits
from loreal_plugin.results.record import RESULTS, read_results, write_record
from loreal_plugin.runs.deployment import NOTE, TENSORS
from loreal_plugin.runs.find_run import find_run
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.observe_tests import record_answers
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import build_spec
from loreal_plugin.runs.stage_files import load_checkpoint
from loreal_plugin.runs.trained_run import TrainedRun
from loreal_plugin.trainer.stage3 import Stage3

OPTS = ("OPTIM.MAX_EPOCH", "1", "TRAINER.LOREAL.META_INIT", "default")
METHODS = ("coop", "maple", "mma", "mmrl")
HALVES = ("base", "new")


class Alone:
    """A run that was copied away from everything it was made of.

    Attributes:
        folder: the copy.
        weights: the CLIP file, the only other thing that is left.
        pictures: files of the test pictures of the base classes.
        logits: what the trainer gave for `images`, by half of the classes.
        images: (N, 3, 32, 32), as the trainer read the pictures.
        static: logits of `images` in the mode `static`, base classes.
        tests: by half, the score of the engine's test, and answers and accuracy of the trainer's.
        names: class names by half.
    """

    def __init__(self, root: Path, method: str) -> None:
        made = root / "made"
        self.weights = root / "clip" / "tiny_clip.pt"
        self.weights.parent.mkdir(parents=True)
        shutil.move(random_clip_file(root), self.weights)
        tiny_image_folder(made / "data" / "pics", classes=4, per_class=8)
        spec = build_spec(
            method,
            "32",
            "pics",
            "1",
            data=str(made / "data"),
            out=str(made / "out"),
            shots="2",
            recipe="demo",
            weights=str(self.weights),
            opts=OPTS,
            env={},
        )
        done = run_protocol(spec, say=lambda text: None)
        engine = prepare(spec, say=lambda text: None)
        self.logits, self.names, self.tests = {}, {}, {}
        for half in HALVES:
            trainer = self._trainer(engine, half)
            self.names[half] = list(trainer.dm.dataset.classnames)
            if half == "base":
                batches = [batch["img"] for batch in trainer.test_loader]
                self.images = torch.cat(batches)
                paths = [item.impath for item in trainer.dm.dataset.test]
                self.pictures = self._kept(root / "pictures", paths)
            with torch.no_grad():
                self.logits[half] = trainer.model_inference(self.images)
            answers = record_answers(trainer)
            accuracy = quietly(trainer.test)
            self.tests[half] = self._score(engine, half), answers, accuracy
            if half == "base":
                stage3 = trainer.stage3
                static = dataclasses.replace(stage3.options, inference="static")
                mode = stage3.modes(trainer.device).mode(static)
                self.static = mode(trainer.model.embed(self.images))
        self.folder = root / "elsewhere" / "my run"
        shutil.copytree(done.folder, self.folder)
        shutil.rmtree(made)

    @staticmethod
    def _trainer(engine: Any, half: str) -> Any:
        stage, row = engine.plan.stages["loreal"], engine.plan.row("loreal")
        with using_weights(engine.plan.spec.weights):
            trainer = quietly(lambda: engine._build(engine.resolve(stage, row, half)))
            quietly(lambda: load_checkpoint(trainer, stage.folder, 1))
        trainer.set_model_mode("eval")
        return trainer

    @staticmethod
    def _score(engine: Any, half: str) -> Any:
        """Return what the engine's own test says; it builds no student but beta."""
        with using_weights(engine.plan.spec.weights), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stage3, "build", lambda *_: pytest.fail("built what could train"))
            return engine.evaluate(engine.plan.row("loreal"), half, again=True)["score"]

    @staticmethod
    def _kept(folder: Path, paths: list[str]) -> list[Path]:
        folder.mkdir()
        copies = [folder / f"{i} {Path(path).name}" for i, path in enumerate(paths)]
        for path, copy in zip(paths, copies, strict=True):
            shutil.copy(path, copy)
        return copies


@pytest.fixture(scope="module", params=METHODS)
def alone(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Give a run of each method, alone in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "HOST", "OUT", "SHOTS", "RECIPE", "CLIP_WEIGHTS"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp(f"alone-{request.param}")
        patch.setenv("LOREAL_CACHE", str(root / "made" / "cache"))
        detach_host()
        made = Alone(root, request.param)
        patch.setenv("LOREAL_CACHE", str(root / "another cache"))
        yield made
        detach_host()


def test_a_run_alone_gives_the_logits_of_the_trainer(alone: Alone):
    for half in HALVES:
        deployed = loreal_plugin.load_run(alone.folder, classes=half, inference="exact")
        assert deployed.classnames == [name.replace("_", " ") for name in alone.names[half]]
        assert torch.equal(deployed.logits(alone.images), alone.logits[half])
    by_default = loreal_plugin.load_run(alone.folder / RESULTS)
    tested = (find_run(alone.folder)[2]["inference"] or {"INFERENCE": "exact"})["INFERENCE"]
    assert by_default.phi == 32 and by_default.inference == tested


def test_the_engine_tests_the_deployed_model_and_finds_what_the_trainer_finds(alone: Alone):
    for score, answers, accuracy in alone.tests.values():
        assert len(answers) == score["total"] > 3 and score["accuracy"] == pytest.approx(accuracy)
        assert score["hits"] == pack_bits([shown == called for shown, called in answers])


def test_pictures_are_read_as_the_trainer_reads_them(alone: Alone):
    deployed = loreal_plugin.load_run(alone.folder, inference="exact")
    pixels = torch.stack([deployed.pixels(path) for path in alone.pictures])
    assert torch.equal(pixels, alone.images)
    found = deployed.predict(alone.pictures, top=2, batch=3)
    wanted = alone.logits["base"].softmax(-1)
    assert len(found) == len(alone.images) > 3
    for prediction, row in zip(found, wanted, strict=True):
        assert prediction[0].classname == deployed.classnames[int(row.argmax())]
        assert [p.probability for p in prediction] == pytest.approx(
            row.sort(descending=True).values[:2].tolist(), abs=1e-4
        )
    opened = deployed.predict(Image.open(path) for path in alone.pictures)
    assert [p[0].classname for p in opened] == [p[0].classname for p in found]


def test_other_class_names_are_predicted_as_new_classes(alone: Alone):
    names = alone.names["new"]
    deployed = loreal_plugin.load_run(alone.folder, classes=names, inference="exact")
    assert torch.equal(deployed.logits(alone.images), alone.logits["new"])
    assert loreal_plugin.load_run(alone.folder, classes=["red fox"]).classnames == ["red fox"]
    with pytest.raises(ConfigError, match="at least one class name"):
        loreal_plugin.load_run(alone.folder, classes=[])
    with pytest.raises(ConfigError, match=r"did you mean 'base'|known: base, new"):
        loreal_plugin.load_run(alone.folder, classes="bse")


def test_tables_of_a_mode_travel_with_the_run(alone: Alone, monkeypatch: pytest.MonkeyPatch):
    # on another machine, with a later release: the tables are those of the run all the same
    sources = {"host": "later", "shims": [], "clip": "another"}
    monkeypatch.setattr(AttachedHost, "sources", property(lambda self: sources))
    deployed = loreal_plugin.load_run(alone.folder, inference="static")
    assert deployed.inference == "static"
    assert torch.equal(deployed.logits(alone.images), alone.static)
    deployed.slim()
    assert deployed.beta.model.text_encoder is None
    assert torch.equal(deployed.logits(alone.images), alone.static)


@pytest.fixture
def damaged(alone: Alone, tmp_path: Path) -> Path:
    """Give a copy of the run to damage."""
    shutil.copytree(alone.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_mode_whose_tables_are_not_kept_says_so(alone: Alone, damaged: Path):
    shutil.rmtree(damaged / "loreal" / "inference")
    with pytest.raises(CheckpointError, match="statistics of the training pictures.*calibrate"):
        loreal_plugin.load_run(damaged, inference="static")


def test_what_is_damaged_or_missing_is_refused_by_name(alone: Alone, damaged: Path):
    tensors = damaged / "loreal" / TENSORS
    content = bytearray(tensors.read_bytes())
    content[-3] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(CheckpointError, match=TENSORS):
        loreal_plugin.load_run(damaged)
    note = damaged / "loreal" / NOTE
    note.write_text(note.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(CheckpointError, match=f"{NOTE} is not what was written.* anew"):
        loreal_plugin.load_run(damaged)
    record = read_results(damaged)
    del record["files"]
    write_record(damaged, record)
    with pytest.raises(CheckpointError, match=f"{NOTE} is not what was written"):
        loreal_plugin.load_run(damaged)
    write_checked(note, read_json(note))
    with pytest.raises(CheckpointError, match=f"{NOTE} has schema version 9"):
        loreal_plugin.load_run(damaged)
    # without the note the run is read as one of an earlier release, which needs stage 2's folder
    note.unlink()
    with pytest.raises(CheckpointError, match="copied without the folder of stage 'beta'"):
        loreal_plugin.load_run(damaged)
    with pytest.raises(CheckpointError, match="no finished run"):
        loreal_plugin.load_run(damaged / "loreal")


def test_other_weights_and_pictures_that_are_none_are_refused(alone: Alone, tmp_path: Path):
    with pytest.raises(WeightsError, match="not those of the run"):
        loreal_plugin.load_run(alone.folder, weights="demo")
    deployed = loreal_plugin.load_run(alone.folder)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.jpg"):
        deployed.predict([tmp_path / "text.jpg"])
    for one in (str(alone.pictures[0]), Path(alone.pictures[0]), Image.new("RGB", (8, 8))):
        with pytest.raises(DataError, match="must be a list"):
            deployed.predict(one)
    assert len(deployed.predict(torch.zeros(1, 3, 8, 8))) == 1
    with pytest.raises(DataError, match="is it normalised already.* goes to `logits`") as caught:
        deployed.predict(torch.full((1, 3, 8, 8), -0.5))
    assert len(str(caught.value)) < 200
    with pytest.raises(ConfigError, match="unknown inference mode 'statik'.*static"):
        loreal_plugin.load_run(alone.folder, inference="statik")
    with pytest.raises(ConfigError, match="top and batch"):
        deployed.predict(alone.pictures, top=0)


def test_alpha_needs_the_output_folder(alone: Alone):
    folder, _, _, out = find_run(alone.folder)
    assert folder == alone.folder and out is None
    run = TrainedRun.open(alone.folder)
    with pytest.raises(CheckpointError, match="copied without the folder of stage 'alpha'"):
        run.model(run.names_of(""), run.checkpoint["words"], with_alpha=True)


def test_words_on_another_dataset_are_those_that_the_run_was_tested_with(alone: Alone):
    run = TrainedRun.open(alone.folder)
    names, own = run.names_of("new"), run.checkpoint["words"]
    target = load_attributes("", "demo-frames").select(len(own))
    assert run.words_for(names) == run.words_for(names, "demo-frames") == own != target
    run.record["overrides"] = [["loreal", "TRAINER.LOREAL.TEST_ATTRIBUTES", "target"]]
    assert run.words_for(names) == own and run.words_for(names, "demo-frames") == target
