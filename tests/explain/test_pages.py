"""Explaining a toy run from end to end: numbers against direct computation, pages, bad input."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from loreal_plugin.cli.main import main
from loreal_plugin.errors import ConfigError, DataError, LorealError
from loreal_plugin.explain import sample as pictures
from loreal_plugin.explain.explanation import (
    Explainer,
    Explanation,
    Prediction,
    Slot,
    attributes_of,
)
from loreal_plugin.explain.page import png_bytes, save_page
from loreal_plugin.explain.runs import OpenRun, open_run
from loreal_plugin.explain.sample import choose, hits_at_phi, labels_of, split_words, spread
from loreal_plugin.explain.slot_worth import load_vocabulary
from loreal_plugin.explain.write_pages import NUMBERS, OVERVIEW, in_words, page_name
from loreal_plugin.text.reference import materialise


@pytest.fixture(scope="module")
def run(toy: Any) -> OpenRun:
    return open_run(toy.run, say=lambda text: None)


@pytest.fixture(scope="module")
def explainer(run: OpenRun) -> Explainer:
    return Explainer(run, load_vocabulary(run))


def test_an_opened_run_predicts_what_the_run_measured(run: OpenRun):
    host, loreal = hits_at_phi(run, run.items("test"), say=print)
    rows = {row["name"]: row["base"]["correct"] for row in run.record["rows"]}
    assert (int(host.sum()), int(loreal.sum())) == (rows["phi"], rows["loreal"])


def test_host_logits_are_those_of_the_hosts_own_forward(run: OpenRun):
    item = run.items("test")[0]
    for student in (run.model.alpha, run.model.beta, run.alpha_at_phi):
        pixels = run.pixels(item.impath, student.input_size)
        with torch.no_grad():
            own = student.model(pixels)[2]  # MMRL on base classes: the mix of both features
        torch.testing.assert_close(
            student.host_logits(student.encode_image(pixels)), own, rtol=1e-4, atol=1e-4
        )


def test_numbers_of_a_slot_are_those_of_whole_prompts_with_the_content_replaced(
    run: OpenRun, explainer: Explainer
):
    item = run.items("test")[1]
    found = explainer.explain(item.impath, run.deployed.classnames[item.label])
    model, beta = run.model, run.model.beta
    with torch.no_grad():
        features = model.embed(run.pixels(item.impath, run.phi))
        contents = model.contents(model.beta, features)
        mean = model.contents(model.beta, model.beta.mean[None])
        prompts = model.beta.text_path.prompts

        def logits(given: torch.Tensor) -> torch.Tensor:
            rows = materialise(prompts, beta.embed_contents(given))[0]
            return beta.logits(features, beta.encode_text(rows, prompts.tokens), fusion=True)[0]

        full, predicted = (
            logits(contents),
            run.deployed.classnames.index(found.predictions[-1].classes[0]),
        )
        assert int(full.argmax()) == predicted
        for k, slot in enumerate(found.slots[run.phi]):
            without = contents.clone()
            without[0, k] = mean[0, k]
            direct = logits(without)
            assert slot.drop["mean"] == pytest.approx(
                float(full[predicted] - direct[predicted]), abs=1e-3
            )
            assert slot.probability["mean"] == pytest.approx(
                float(direct.softmax(0)[predicted]), abs=1e-3
            )
            far = float((contents[0, k] - mean[0, k]).norm() / mean[0, k].norm())
            assert slot.moves == pytest.approx(far, rel=1e-3) and far > 0
    top = found.predictions[-1]
    assert (
        list(top.probabilities) == sorted(top.probabilities, reverse=True) and len(top.classes) == 2
    )
    assert [p.size for p in found.predictions] == [64, 64, 32, 32, 32]
    assert {name: tuple(m.shape) for name, m in found.maps.items()} == {
        "alpha": (4, 4),
        "alpha_at_phi": (2, 2),
        "beta": (2, 2),
    }


def test_pages_and_numbers_of_a_dataset(
    toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert (
        main(
            [
                "explain",
                "pics",
                "--run",
                str(toy.run),
                "--count",
                "2",
                "--to",
                str(tmp_path / "pages"),
            ]
        )
        == 0
    )
    numbers = json.loads((tmp_path / "pages" / NUMBERS).read_text())
    names = [entry["page"] for entry in numbers["pictures"]]
    assert (
        sorted(os.listdir(tmp_path / "pages")) == sorted([*names, NUMBERS, OVERVIEW])
        and len(names) == 2
    )
    for name in names:
        with Image.open(tmp_path / "pages" / name) as page:
            assert page.format == "PNG" and page.size == (1300, 840)
    with Image.open(tmp_path / "pages" / OVERVIEW) as sheet:
        assert sheet.format == "PNG" and sheet.size == (1040, 264)
    assert {len(entry["slots"]["32"]) for entry in numbers["pictures"]} == {5}
    assert "2 pages in" in capsys.readouterr().out


def test_a_picture_of_the_dataset_knows_its_class_and_a_strange_one_does_not(
    toy: Any, run: OpenRun, tmp_path: Path
):
    item = run.items("test")[0]
    strange = tmp_path / "strange.png"
    Image.new("RGB", (50, 70), "red").save(strange)
    found = labels_of(run, [str(strange), item.impath])
    assert found == ["", run.deployed.classnames[item.label]]


def test_own_pictures_are_explained_where_the_dataset_is_not(
    toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DATA")
    picture, to = next(str(path) for path in toy.pictures.rglob("*.png")), tmp_path / "pages"
    assert main(["explain", picture, "--run", str(toy.run), "--to", str(to)]) == 0
    assert "dataset 'pics' needs DATA" in capsys.readouterr().out
    (entry,) = json.loads((to / NUMBERS).read_text())["pictures"]
    assert (to / entry["page"]).is_file()


def test_embed_draws_a_map_and_writes_its_numbers(
    toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "map.png"
    assert (
        main(["embed", "--run", str(toy.run), "--count", "4", "--part", "train", "--to", str(path)])
        == 0
    )
    written = json.loads(path.with_suffix(".json").read_text())
    low = [name for name in written["drift"] if "64" in name or "32" in name]
    assert len(low) >= 2 and all(-1 <= written["drift"][name]["cosine_mean"] <= 1 for name in low)
    with Image.open(path) as page:
        assert page.format == "PNG" and page.height == 660
    assert "cosine_mean" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_leaves_nothing(
    run, explainer: Explainer, tmp_path: Path, monkeypatch
):
    explanation = explainer.explain(run.items("test")[0].impath)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    odd = dataclasses.replace(explanation, path=os.fsdecode(b"caf\xe9.png"))
    save_page(odd, "a name that is no UTF-8", tmp_path / "page.png")
    before = (tmp_path / "page.png").read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LorealError, match="No space left"):
        save_page(explanation, "another title", tmp_path / "page.png")
    assert os.listdir(tmp_path) == ["page.png"] and (tmp_path / "page.png").read_bytes() == before


def test_a_page_without_slots_ends_where_its_panels_end():
    figure = Figure(figsize=(2, 1))
    with Image.open(io.BytesIO(png_bytes(figure, 100, cut=0.3))) as page:
        assert page.size == (200, 70)


def test_no_run_is_one_clear_line(toy: Any, refused: Callable[..., str], tmp_path: Path):
    assert "no finished run in" in refused("explain", "--run", tmp_path)
    (tmp_path / "results.json").write_text('{"schema_version": ')
    assert "no finished run in" in refused("embed", "--run", tmp_path / "results.json")
    alpha = (
        toy.root
        / "out"
        / json.loads((toy.run / "results.json").read_text())["stages"]["alpha"]["folder"]
    )
    assert "is the record of 'stage alpha'" in refused("explain", "--run", alpha)
    alone = tmp_path / "moved"
    shutil.copytree(toy.run, alone)
    assert "open the run in its output folder" in refused("explain", "--run", alone)


def test_wrong_pictures_datasets_and_options_are_one_clear_line(
    toy: Any, refused: Callable[..., str], tmp_path: Path
):
    broken, to = tmp_path / "broken.png", tmp_path / "pages"
    broken.write_bytes(b"no picture")
    assert "broken.png' cannot be read" in refused("explain", broken, "--run", toy.run, "--to", to)
    assert "missing.jpg' does not exist" in refused(
        "explain", tmp_path / "missing.jpg", "--run", toy.run, "--to", to
    )
    assert "'picz'" in refused("explain", "picz", "--run", toy.run, "--to", to)
    assert "--count must be a whole number" in refused("explain", "--run", toy.run, "--count", "0")
    assert "must end in .png" in refused("embed", "--run", toy.run, "--to", "map.pdf")
    assert not to.exists()


def test_files_and_datasets_do_not_mix(toy: Any):
    picture = next(str(path) for path in toy.pictures.rglob("*.png"))
    assert split_words([picture]) == ([picture], "") and split_words(["pics"]) == ([], "pics")
    assert split_words([]) == ([], "")
    with pytest.raises(ConfigError, match="not both or several"):
        split_words([picture, "pics"])


def test_folders_are_looked_through_and_broken_pictures_left_out(toy: Any, tmp_path: Path):
    whole = next(str(path) for path in toy.pictures.rglob("*.png"))
    (tmp_path / "deep").mkdir()
    for name in ("broken.png", ".hidden.png"):
        (tmp_path / "deep" / name).write_text("no picture")
    (tmp_path / "deep" / "whole.png").write_bytes(Path(whole).read_bytes())
    said: list[str] = []
    files, dataset = split_words([f"{tmp_path}/", whole], said.append)
    assert files == [str(tmp_path / "deep" / "whole.png"), whole] and dataset == ""
    assert len(said) == 1 and "left out: " in said[0] and "broken.png" in said[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture below"):
        split_words([f"{tmp_path}/empty"])


def test_the_terminal_says_the_classes_and_when_slots_ignore_the_picture():
    host = Prediction("MMRL, trained at 32", 32, ("cat", "dog"), (0.61, 0.39))
    ours = Prediction("+ LOREAL", 32, ("dog", "cat"), (0.8, 0.2))
    for moves, ignored in ((0.004, True), (0.2, False)):
        slot = Slot("color", (("red", 0.1),), moves, {}, {})
        made = Explanation("a.png", "dog", {}, {}, (host, host, host, host, ours), {32: (slot,)})
        words = in_words(made)
        assert "it is dog; MMRL, trained at 32: cat 61 %, + LOREAL: dog 80 %" in words
        assert ("the slots ignore it" in words) is ignored


def test_chosen_pictures_are_spread_and_of_the_wanted_kind(monkeypatch: pytest.MonkeyPatch):
    assert spread(4, 12) == [1, 4, 7, 10] and spread(5, 3) == [0, 1, 2]
    host, loreal = torch.tensor([1, 0, 0, 1, 0]).bool(), torch.tensor([0, 1, 0, 1, 1]).bool()
    monkeypatch.setattr(pictures, "hits_at_phi", lambda *_: (host, loreal))
    items, run = [SimpleNamespace(n=n) for n in range(5)], SimpleNamespace()
    assert [item.n for item in choose(run, items, 9, "rescued")] == [1, 4]
    assert [item.n for item in choose(run, items, 9, "lost")] == [0]
    with pytest.raises(DataError, match="none of 5 is 'lost'"):
        monkeypatch.setattr(pictures, "hits_at_phi", lambda *_: (loreal, loreal))
        choose(run, items, 9, "lost")


def test_page_names_suit_any_file_system_and_attributes_may_be_a_class_own():
    assert page_name(3, "sea lion/x", "/a/b c.d.jpg") == "03_sea-lion-x_b-c-d.png"
    assert page_name(0, "", "x.jpg") == "00_x.png"
    assert attributes_of(["a", "b"], 1) == ["a", "b"] and attributes_of([["a"], ["b"]], 1) == ["b"]
