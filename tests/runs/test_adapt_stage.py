"""The stages of the adapted image side, from end to end at toy size."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_world import AdaptedWorld, adapted_world
from safetensors.torch import load_file

from loreal_plugin import load_run
from loreal_plugin.adapt.files import adaptation_file, read_adaptation
from loreal_plugin.cli.main import main
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.explain.explanation import Explainer
from loreal_plugin.explain.runs import open_run
from loreal_plugin.explain.sample import hits_at_phi
from loreal_plugin.explain.slot_worth import load_vocabulary
from loreal_plugin.results.record import read_results
from loreal_plugin.runs import adapt_stage

LOW_RANK = ("TRAINER.LOREAL.ADAPT", "patch_lora")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdaptedWorld]:
    """Give a world with one finished run of CoOp and one of MMRL."""
    with adapted_world(tmp_path_factory.mktemp("adapted"), "coop", "mmrl") as made:
        yield made


def _updates(folder: Path) -> dict[str, torch.Tensor]:
    return read_adaptation(adaptation_file(folder))[0]


def test_explain_looks_at_the_student_that_predict_uses(
    world: AdaptedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = world.runs("CoOp")
    (apart,) = world.folders("CoOp_LOREAL/adapted_phi32")
    looked = {}
    for row, at in (("loreal", folder), ("adapted", folder), ("adapted", apart)):
        # without a name it is the adapted one, from either folder
        run = open_run(at, row="" if row == "adapted" else row, say=lambda text: None)
        item = run.items("test")[0]
        found = Explainer(run, load_vocabulary(run)).explain(item.impath)
        looked[row, at] = found.maps["beta"], found.predictions[-1].probabilities
        correct = {r["name"]: r["base"]["correct"] for r in run.record["rows"]}
        host = "phi" if row == "loreal" else "native_at_phi"  # what an adaptation starts from
        hits = hits_at_phi(run, run.items("test"), print)
        assert [int(part.sum()) for part in hits] == [correct[host], correct[row]]
    assert torch.equal(looked["adapted", folder][0], looked["adapted", apart][0])
    assert not torch.equal(looked["adapted", folder][0], looked["loreal", folder][0])
    page = tmp_path / "pages"
    words = ("explain", "--run", str(folder), "--count", "1", "--to", str(page))
    capsys.readouterr()
    assert main(list(words)) == 0
    said = "the student with the adapted image side, which predict uses, too; --row loreal: the one"
    assert said in capsys.readouterr().out
    (told,) = json.loads((page / "explanations.json").read_text())["pictures"]
    names = [prediction["name"] for prediction in told["predictions"][-2:]]
    assert names == ["CoOp, trained at 64", "+ adapted image side"]


def test_answers_that_a_page_leaves_out_are_those_that_it_shows(world: AdaptedWorld) -> None:
    for trainer in ("CoOp", "MMRL"):
        (folder,) = world.runs(trainer)
        run = open_run(folder, say=lambda text: None)
        item = run.items("test")[0]
        explainer = Explainer(run, load_vocabulary(run))
        shown = explainer.explain(item.impath).predictions
        explainer._as_host = False
        every = explainer.explain(item.impath).predictions
        assert shown == (every[0], every[2], every[4])
        for left_out, like in ((every[1], every[0]), (every[3], every[4])):
            assert (left_out.classes, left_out.size) == (like.classes, like.size)
            assert left_out.probabilities == pytest.approx(like.probabilities, rel=1e-5)


def test_the_row_adds_the_image_side_alone(world: AdaptedWorld) -> None:
    (folder,) = world.runs("CoOp")
    record = read_results(folder)
    assert record["stage"] == "loreal" and list(record["stages"])[3:] == ["adapt", "adapted"]
    row = record["rows"][-1]
    stages = record["stages"]
    assert row["name"] == "adapted" and stages["adapted"]["parameters"] == 0
    assert row["parameters"] == stages["adapt"]["parameters"]
    (adapt,) = world.folders("CLIP/adapt_phi32")
    count = sum(value.numel() for value in _updates(adapt).values())
    assert row["parameters"] == count
    assert all(value.dtype == torch.float16 for value in _updates(adapt).values())


def test_where_the_method_learns_nothing_of_the_images_the_result_is_shared(
    world: AdaptedWorld,
) -> None:
    # CoOp's lies with CLIP, MMRL's with MMRL: its image encoder has representation tokens
    assert len(world.folders("CLIP/adapt_phi32")) == len(world.folders("MMRL_LOREAL/adapt_phi32"))
    assert not world.folders("CoOp_LOREAL/adapt_phi32")


@pytest.mark.parametrize("method", ["CoOp", "MMRL"])
def test_an_opened_run_predicts_what_was_tested(
    world: AdaptedWorld, method: str, tmp_path: Path
) -> None:
    (run,) = world.runs(method)
    (alone,) = world.folders(f"{method}_LOREAL/adapted_phi32")
    shutil.copytree(alone, tmp_path / "alone")
    best, copied = load_run(run), load_run(tmp_path / "alone")
    images = torch.randn(5, 3, 32, 32)
    assert torch.equal(best.logits(images), copied.logits(images))
    assert not torch.allclose(best.logits(images), load_run(run, row="loreal").logits(images))
    beta = best.beta
    # the host's own graph: its encoder with other weights, its own prompts, one product
    text = beta.encode_text(beta.prompts().embeddings, beta.prompts().tokens)
    fusion = best.model.fusion
    assert torch.allclose(
        best.logits(images), beta.logits(beta.encode_image(images), text, fusion), atol=1e-4
    )
    with pytest.raises(ConfigError, match="unknown row of a run 'adaptd'"):
        load_run(run, row="adaptd")


def test_pictures_are_enlarged_inside_the_student(world: AdaptedWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    words = ("TRAINER.LOREAL.ADAPT_ENLARGE", "48", "TRAINER.LOREAL.INFERENCE", "exact")
    assert world.run("coop", *words, out=out) == 0
    names = {folder.parent.name for folder in world.runs("CoOp")}
    (run,) = (f for f in world.runs("CoOp", out) if f.parent.name not in names)
    # the text side knows nothing of it: its stage 3 is that of the run before
    assert len(world.folders("CoOp_LOREAL/phi32", out)) == 3
    folders = {read_results(f)["stages"]["loreal"]["folder"] for f in world.runs("CoOp", out)}
    assert len(folders) == 1
    assert main(["verify", str(run)]) == 0
    assert ["loreal", "TRAINER.LOREAL.ADAPT_ENLARGE", "48"] in read_results(run)["overrides"]
    stage = read_results(out / read_results(run)["stages"]["adapted"]["folder"])
    told = [key for scope, key, _ in stage["overrides"] if scope == "loreal"]
    assert "TRAINER.LOREAL.INFERENCE" not in told, "stage 3's alone"
    assert told[-1] == "TRAINER.LOREAL.ADAPT_ENLARGE"
    # the family's parser wants a log beside
    assert "* accuracy: " in (run / "log.txt").read_text()
    found = load_run(run)
    beta = found.beta
    # what stands on it lies beside what stands on the plain adaptation, which is as it was
    (plain,) = world.folders("CoOp_LOREAL/adapted_phi32")
    both = world.folders("CoOp_LOREAL/adapted_phi32", out)
    assert len(both) == 2
    keys = {read_results(folder)["key"] for folder in both}
    assert len(keys) == 2 and read_results(plain)["key"] in keys
    rows = {row["name"]: row["tokens"] for row in read_results(run)["rows"]}
    assert (rows["loreal"], rows["adapted"]) == (2 * 2 + 1, 3 * 3 + 1)
    assert (found.phi, beta.encoder_size, beta.model.image_encoder.input_resolution) == (32, 48, 48)
    images = torch.randn(3, 3, 32, 32)
    large = torch.nn.functional.interpolate(images, size=(48, 48), mode="bicubic")
    with torch.no_grad():
        wanted = beta.contract.encode_image(beta.model, large)
    assert torch.equal(beta.encode_image(images), wanted)
    kept = read_adaptation(adaptation_file(world.folders("CLIP/adapt_phi32")[0]))[1]["settings"]
    assert "enlarge" not in kept  # keys of runs without it are those of before


def test_progress_is_that_of_every_stage(world: AdaptedWorld) -> None:
    (folder,) = world.folders("CLIP/adapt_phi32")
    lines = [line for line in (folder / "log.txt").read_text().splitlines() if "batch [" in line]
    assert [line.split(" loss")[0] for line in (lines[0], lines[-1])] == [
        "epoch [1/2] batch [1/2]",
        "epoch [2/2] batch [2/2]",
    ]


def _kernels(model: Callable[[torch.Tensor], Any], images: torch.Tensor) -> list[str]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Listing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    seen: list[str] = []
    with torch.no_grad(), Listing():
        model(images)
    return seen


@pytest.mark.parametrize("method", ["CoOp", "MMRL"])
def test_the_graph_is_that_of_the_host(world: AdaptedWorld, method: str) -> None:
    (run,) = world.runs(method)
    images = torch.randn(2, 3, 32, 32)
    adapted = load_run(run).beta.encode_image
    plain = load_run(run, row="loreal").beta.encode_image
    assert _kernels(adapted, images) == _kernels(plain, images)


def test_what_is_complete_is_not_trained_again(
    world: AdaptedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt_stage, "_training", lambda *_: pytest.fail("trained again"))
    assert world.run("coop") == 0
    # LOREAL's text side is not what the adapted student stands on
    assert world.run("coop", "TRAINER.LOREAL.BRIDGE", "cross") == 0
    assert len(world.folders("CoOp_LOREAL/adapted_phi32")) == 1


def test_a_preset_without_it_has_no_row(world: AdaptedWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert world.run("coop", "TRAINER.LOREAL.PRESET", "paper", out=out) == 0
    (folder,) = world.runs("CoOp", out)
    assert [row["name"] for row in read_results(folder)["rows"]][-1] == "loreal"
    assert not world.folders("CLIP/adapt_phi32", out)


def test_slots_on_top_are_asked_for_by_name(world: AdaptedWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    words = ("adapted:TRAINER.LOREAL.SLOT_PARTS", "both", "adapted:TRAINER.LOREAL.DRIFT", "ridge")
    words += ("adapted:TRAINER.LOREAL.N_ATTRIBUTES", "1")
    assert world.run("coop", *words, "adapted:TRAINER.LOREAL.INFERENCE", "exact", out=out) == 0
    (old,) = world.folders("CoOp_LOREAL/adapted_phi32")
    new = set(world.folders("CoOp_LOREAL/adapted_phi32", out)) - {out / old.relative_to(world.out)}
    record = read_results(new.pop())
    assert record["parameters"] > 0 and record["config"]["TRAINER.LOREAL.SLOT_PARTS"] == "both"
    # it is tested with its own words, and not with those of the stage `loreal`
    of_loreal = [f for f in world.folders("CoOp_LOREAL/phi32", out) if (f / "loreal").is_dir()]
    assert record["attributes"] == read_results(of_loreal[0])["attributes"][:1]
    tests = (out / "base2new/test_new").rglob("CoOp_LOREAL/adapted_phi32/*/seed1/log.txt")
    assert record["attributes"] in [read_results(log.parent)["attributes"] for log in tests]


def test_killed_it_goes_on_to_the_same_bits(
    world: AdaptedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    (folder,) = world.folders("CLIP/adapt_phi32", out)
    want = _updates(folder)
    shutil.rmtree(folder)
    save = adapt_stage._Checkpoints.save

    def dies(self: Any, training: Any) -> None:
        save(self, training)
        if training.passes_done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(adapt_stage._Checkpoints, "save", dies)
        assert world.run("coop", out=out) != 0
    (part,) = (folder / "loreal").glob("*.part.safetensors")
    assert part.name == "adaptation-2.part.safetensors"
    assert world.run("coop", out=out) == 0
    got = _updates(folder)
    assert want.keys() == got.keys() and all(torch.equal(want[k], got[k]) for k in want)
    assert [path.name for path in (folder / "loreal").iterdir()] == ["adaptation.safetensors"]


def test_old_targets_go_but_not_those_that_the_training_needs(
    world: AdaptedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, kept = tmp_path / "out", world.root / "cache" / "adaptation"
    shutil.copytree(world.out, out)
    assert world.run("coop", out=out, until="adapt") == 0
    old = kept / "old.safetensors"
    old.write_bytes(b"0" * 4096)
    os.utime(old, (1, 1))
    there: list[set[str]] = []
    entries: list[set[str]] = []

    def looked(shards: Any, limit: int, keep: Any = ()) -> None:
        make_room(shards, limit, keep)
        there.append({path.stem for path in kept.glob("*.safetensors")})
        entries.append(set(shards.entries))

    make_room = adapt_stage._make_room
    monkeypatch.setattr(adapt_stage, "_make_room", looked)
    monkeypatch.setattr(adapt_stage, "limit_mb", lambda *_: 2**-10)  # 1 KiB
    # another training on the same targets, which are more than the bound
    assert world.run("coop", "TRAINER.LOREAL.ADAPT_LR", "0.001", out=out, until="adapt") == 0
    assert len(entries[0]) == 2 and there[0] == entries[0], "old and others' are gone, its own not"
    assert there[1] == set(), "what is kept between runs stays within the bound"


def test_a_damaged_adaptation_is_trained_again(
    world: AdaptedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    (folder,) = world.folders("CLIP/adapt_phi32", out)
    path = adaptation_file(folder)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its content is not what was written"):
        read_adaptation(path)
    assert world.run("coop", out=out) == 0
    assert "has to be trained again" in capsys.readouterr().out
    want = load_file(adaptation_file(world.folders("CLIP/adapt_phi32")[0]))
    assert all(torch.equal(want[name], value) for name, value in load_file(path).items())


def test_pictures_without_labels_make_another_adaptation(
    world: AdaptedWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world.out, out)
    words = (*LOW_RANK, "TRAINER.LOREAL.ADAPT_PICTURES", str(world.pictures))
    assert world.run("coop", *words, out=out) == 0
    records = [read_results(f) for f in world.folders("CLIP/adapt_phi32", out)]
    told = {record["pictures"]: record["adaptation"] for record in records}
    assert told.keys() == {6, 48}
    assert told[6]["pictures"] is None and len(told[48]["pictures"]) == 64
    assert (told[48]["settings"]["kind"], told[48]["settings"]["seed"]) == ("patch_lora", 1)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("TRAINER.LOREAL.ADAPT_PICTURES", "/nowhere"), "is no folder"),
        ((*LOW_RANK, "TRAINER.LOREAL.ADAPT_RANK", "0"), "is below 1"),
        ((*LOW_RANK, "TRAINER.LOREAL.ADAPT_RANK", "4096"), "this image encoder allows"),
        (("TRAINER.LOREAL.ADAPT", "all"), "is none of"),
        (("TRAINER.LOREAL.ADAPT_ENLARGE", "32"), "does not enlarge pictures of PHI 32"),
        (("TRAINER.LOREAL.ADAPT_ENLARGE", "50"), "it must be a multiple of the patch size"),
        (("TRAINER.LOREAL.ADAPT_LR", "1e30"), "too high"),
    ],
)
def test_bad_values_are_one_line(
    world: AdaptedWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    error: str,
) -> None:
    assert world.run("coop", *words, out=tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert error in said and len(said.strip().splitlines()) == 1


def test_the_settings_are_written_beside_the_updates(world: AdaptedWorld) -> None:
    (folder,) = world.folders("CLIP/adapt_phi32")
    note = read_adaptation(adaptation_file(folder))[1]
    assert note["phi"] == 32 and note["method"] == "CLIP" and note["parents"] == {}
    assert note["settings"]["views"] == 2 and json.dumps(note["settings"])
