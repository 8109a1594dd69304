"""`loreal data`: the table, the licence, copies from elsewhere, dead links, counts."""

from __future__ import annotations

import json
import re
import shutil
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from miniatures import (
    MINIATURES,
    caltech101,
    dtd,
    food101,
    imagenet,
    stanford_cars,
    sun397,
    ucf101,
    write_classes,
)

from loreal_plugin.cli import main
from loreal_plugin.download import table, transfer
from loreal_plugin.download.inspect import inspecting
from loreal_plugin.download.page import sources_table
from loreal_plugin.download.table import datasets
from loreal_plugin.files import replace_between

WHOLE = "oxford_pets: 3 classes, 45 images (train 24, val 6, test 15)"
DEAD = {"sun397": sun397, "stanford_cars": stanford_cars, "ucf101": ucf101}
real_urlopen = transfer.urlopen


def closed(request: Any, timeout: float = 0) -> Any:
    """Answer as a server does whose files are gone."""
    raise HTTPError(request.full_url, 404, "Not Found", Message(), None)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of addresses that were asked; every one is gone."""
    asked: list[str] = []

    def ask(request: Any, timeout: float = 0) -> Any:
        asked.append(request.full_url)
        return closed(request)

    monkeypatch.setattr(transfer, "urlopen", ask)
    return asked


# ---- the table -------------------------------------------------------------------------------


def test_the_table_says_where_each_hash_is_from_and_fits_the_loaders(tmp_path: Path):
    known_from = json.loads(table.TABLE.read_text())["known_from"]
    rows = datasets()
    assert len(rows) == 15 == len(MINIATURES)
    with inspecting(tmp_path) as inspector:
        for name, row in rows.items():
            layout = inspector.layout(name)
            gives = {path for part in row.parts for path in part.gives}
            # Cars and ImageNet have two picture folders
            assert {layout.image_folder, f"{layout.image_folder}/train", "cars_train"} & gives
            assert not layout.split_file or layout.split_file in gives
    sources = [source for row in rows.values() for part in row.parts for source in part.sources]
    for source in sources:
        digits = {"": 0, "md5": 32, "sha256": 64}[source.hash_kind]
        assert re.fullmatch(f"[0-9a-f]{{{digits}}}", source.hash)
        assert bool(source.known_from) == bool(source.hash), source
        assert not source.known_from or source.known_from in known_from
    # every dataset that anybody may have can be had from two servers at least
    pictures = {name: row.parts[0].sources for name, row in rows.items() if not row.steps}
    assert {name for name, found in pictures.items() if len(found) < 2} == set()


def test_the_list_has_every_dataset(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f"{name} " in said for name in datasets())
    assert "39.10 GB" in said and "https://image-net.org/download.php" in said
    assert "has asked none of these servers" in said, "said plainly"


def test_the_page_has_the_table_of_the_code():
    page = (Path(table.__file__).parents[2] / "docs" / "DATA.md").read_text(encoding="utf-8")
    assert replace_between(page, "sources", sources_table()) == page, "loreal data list --write"
    assert all(f"### {row.title}" in page for row in datasets().values())


# ---- licence and counts ----------------------------------------------------------------------


def test_the_licence_is_asked_for(pets: Path, server, capsys):
    words = ["data", "get", "oxford_pets", "--data", str(pets)]
    assert main(words) == 2
    assert "accept it with --yes" in capsys.readouterr().err and not server.asked
    assert main([*words, "--yes"]) == 0
    said = capsys.readouterr().out
    assert "licence: free" in said and WHOLE in said and "as published" in said


def test_check_counts_and_names_what_is_missing(pets: Path, server, capsys):
    words = ["--data", str(pets), "oxford_pets"]
    pets.mkdir()
    assert main(["data", "check", *words]) == 1
    assert "Next: loreal data get oxford_pets" in capsys.readouterr().out
    assert main(["data", "get", "--yes", *words]) == 0
    capsys.readouterr()
    assert main(["data", "check", *words]) == 0
    said = capsys.readouterr().out
    assert f"{WHOLE}\nas many classes" in said and "one is drawn with" in said
    next((pets / "oxford_pets" / "images").iterdir()).unlink()
    assert main(["data", "check", *words]) == 1
    assert re.search(r"missing: .*\.jpg", capsys.readouterr().out)
    assert main(["data", "check", "oxford_pet", "--data", str(pets)]) == 2
    assert "did you mean 'oxford_pets'?" in capsys.readouterr().err


def test_the_published_split_is_told_from_another(pets: Path, server, use_table, capsys):
    name = "split_zhou_OxfordPets.json"
    rows = [["Abyssinian_1.jpg", 0, "abyssinian"]]
    (server.folder / name).write_text(json.dumps({"train": rows, "val": [], "test": rows}))
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [server.source("images.tar.gz")]},
        {"gives": [name], "sources": [server.source(name)]},
        classes=1,
        pictures=[1, 0, 1],
    )
    words = ["--data", str(pets), "oxford_pets"]
    assert main(["data", "get", "--yes", *words]) == main(["data", "check", *words]) == 0
    assert f"{name} is the published one" in capsys.readouterr().out
    with open(pets / "oxford_pets" / name, "a") as file:
        file.write(" ")
    assert main(["data", "check", *words]) == 0
    assert f"{name} is not the published one" in capsys.readouterr().out


# ---- copies from elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["files", "folder of archives", "folder of pictures"])
def test_from_files_and_folders_asks_no_server(pets: Path, server, no_network, tmp_path, kind):
    sent = server.folder
    given = {
        "files": [sent / "annotations.tar.gz", sent / "images.tar.gz"],
        "folder of archives": [sent],
        "folder of pictures": [tmp_path / "published"],
    }[kind]
    froms = [word for path in given for word in ("--from", str(path))]
    assert main(["data", "get", "oxford_pets", "--data", str(pets), *froms]) == 0
    images = pets / "oxford_pets" / "images"
    assert images.is_symlink() == (kind == "folder of pictures")
    assert len(list(images.iterdir())) == 45 and not no_network
    assert (sent / "images.tar.gz").is_file()


def test_no_file_takes_the_place_of_a_folder(pets: Path, server, no_network, capsys):
    cut, whole = server.folder / "my_pets.zip", server.folder / "my_own.zip"
    published = server.folder.parent / "published"
    shutil.make_archive(str(whole.with_suffix("")), "zip", published)
    cut.write_bytes(whole.read_bytes()[:-100])
    words = ["data", "get", "oxford_pets", "--data", str(pets), "--from"]
    assert main([*words, str(cut)]) == 1
    assert f"{cut} is no whole archive" in capsys.readouterr().out
    assert not (pets / "oxford_pets").exists() and cut.is_file()
    (pets / "oxford_pets").mkdir()
    (pets / "oxford_pets" / "images").write_text("of an earlier release")
    assert main([*words, str(whole)]) == 2
    assert "images is in the way" in capsys.readouterr().err
    (pets / "oxford_pets" / "images").unlink()
    assert main([*words, str(whole)]) == 0


def test_the_pictures_of_another_dataset_are_not_taken(pets: Path, server, no_network, capsys):
    old = pets.parent / "published"
    other = dtd(old)
    words = ["data", "get", "oxford_pets", "--data", str(pets), "--from"]
    images = pets / "oxford_pets" / "images"
    # all old datasets lie in one folder: the one with the dataset's name is meant
    assert main([*words, str(old)]) == 0
    assert images.resolve() == old / "oxford_pets" / "images"
    images.unlink()
    (old / "oxford_pets").rename(old / "my pets")
    assert main([*words, str(old)]) == 1 and not images.is_symlink()
    assert "several 'images' below" in capsys.readouterr().out
    assert main([*words, str(other.folder)]) == 1
    said = capsys.readouterr().out
    assert f"images is a link to {other.folder / 'images'}; remove it where that is not" in said


def test_another_number_of_classes_than_published_is_no_success(use_table, tmp_path, capsys):
    use_table("dtd", {"gives": ["images"], "sources": []}, classes=3, pictures=[15, 6, 9])
    other = food101(tmp_path / "old")
    write_classes(other.folder / "images", ["sushi"], 10)
    words = ["--data", str(tmp_path / "data"), "dtd"]
    assert main(["data", "get", *words, "--from", str(tmp_path / "old")]) == 1
    assert main(["data", "check", *words]) == 1
    said = capsys.readouterr().out
    assert said.count("not the classes of Test: a part of them, or another dataset") == 2
    assert f"images is a link to {other.folder / 'images'}; remove it" in said


def test_what_macos_adds_to_an_archive_is_passed_over(use_table, tmp_path: Path, no_network):
    use_table("dtd", {"gives": ["images"], "sources": []}, classes=3, pictures=[15, 6, 9])
    mini = dtd(tmp_path / "tree")
    shadow = tmp_path / "tree" / "__MACOSX" / "dtd" / "images" / "banded" / "._banded_0001.jpg"
    shadow.parent.mkdir(parents=True)
    shadow.write_bytes(b"-")
    packed = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "tree")
    words = ["data", "get", "dtd", "--data", str(tmp_path / "data"), "--from", packed]
    assert main(words) == 0
    arrived = tmp_path / "data" / "dtd" / "images"
    assert sorted(p.name for p in arrived.iterdir()) == sorted(mini.classnames)


def test_a_link_whose_end_has_gone_is_replaced(pets: Path, server, no_network):
    folder = pets / "oxford_pets"
    folder.mkdir(parents=True)
    (folder / "images").symlink_to(pets / "gone")
    (folder / "annotations").symlink_to(pets / "gone")
    published = server.folder.parent / "published"
    given = ["--from", str(server.folder / "annotations.tar.gz"), "--from", str(published)]
    assert main(["data", "get", "oxford_pets", "--data", str(pets), *given]) == 0
    assert (folder / "images").resolve() == published / "oxford_pets" / "images"


def test_a_file_that_is_not_the_published_one_is_refused(pets: Path, server, no_network, capsys):
    bad = server.folder / "images.tar.gz"
    bad.write_bytes(bad.read_bytes()[:-1])
    words = ["data", "get", "oxford_pets", "--data", str(pets), "--from", str(bad)]
    assert main(words) == 1
    assert "bytes, not" in capsys.readouterr().out and not (pets / "oxford_pets").exists()
    assert main([*words[:-1], str(bad.with_name("none"))]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_a_mirror_is_compared_with_the_published_hashes(pets: Path, server, use_table, capsys):
    source = {**server.source("images.tar.gz"), "url": "https://example.org/images.tar.gz"}
    notes = {**server.source("annotations.tar.gz"), "url": "https://example.org/annotations.tar.gz"}
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [source]},
        {"gives": ["annotations"], "sources": [notes]},
    )
    words = ["data", "get", "oxford_pets", "--data", str(pets), "--from", f"{server.address}/"]
    assert main(words) == 2 and not server.asked  # a server: the licence is asked for
    words.append("--yes")
    assert main(words) == 0
    assert f"from {server.url('images.tar.gz')}" in capsys.readouterr().out
    shutil.rmtree(pets)
    (server.folder / "images.tar.gz").write_bytes(b"another")
    assert main(words) == 1 and not (pets / "oxford_pets" / "images").exists()


def test_an_archive_in_an_archive_is_found(tmp_path: Path, no_network, capsys):
    mini = caltech101(tmp_path / "published")
    inner = tmp_path / "caltech-101"
    inner.mkdir()
    images = mini.folder / "101_ObjectCategories"
    shutil.make_archive(str(inner / images.name), "gztar", mini.folder, images.name)
    outer = shutil.make_archive(str(tmp_path / "my-copy"), "zip", tmp_path, "caltech-101")
    data = tmp_path / "data"
    assert main(["data", "get", "caltech101", "--data", str(data), "--from", outer]) == 1
    said = capsys.readouterr().out
    assert "caltech101: 5 classes, 50 images" in said and "published: 100 classes" in said
    assert "not the classes of Caltech-101: a part of them, or another dataset" in said
    assert not no_network


# ---- dead ends -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEAD)
def test_dead_links_end_in_sentences(tmp_path: Path, no_network, capsys, name: str):
    words = ["data", "get", name, "--yes", "--data", str(tmp_path / "data")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert f"note: {datasets()[name].note}" in said.out and "404 Not Found" in said.out
    assert "Traceback" not in said.err and len(no_network) >= 3
    assert f"with a copy from elsewhere: loreal data get {name} " in said.out


@pytest.mark.parametrize("name", DEAD)
def test_the_mirror_brings_what_the_publisher_no_longer_does(
    tmp_path: Path, monkeypatch, capsys, name: str
):
    mini = DEAD[name](tmp_path / "published")
    packed = shutil.make_archive(str(tmp_path / name), "zip", mini.folder.parent, mini.folder.name)

    def only_the_mirror(request: Any, timeout: float = 0) -> Any:
        if "huggingface.co" not in request.full_url:
            return closed(request)
        request.full_url = served
        return real_urlopen(request, timeout=timeout)

    served = Path(packed).as_uri()
    monkeypatch.setattr(transfer, "urlopen", only_the_mirror)
    # a miniature has fewer classes than were published
    assert main(["data", "get", name, "--yes", "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr().out
    assert f"{name}: {len(mini.classnames)} classes" in said
    assert "from https://huggingface.co/zhengli97/prompt_learning_dataset/" in said


def test_imagenet_prints_the_steps_and_takes_a_copy(tmp_path: Path, no_network, capsys):
    words = ["data", "get", "imagenet", "--yes", "--data", str(tmp_path / "data")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "1. sign up at https://image-net.org" in said
    assert f"cd {tmp_path / 'data' / 'imagenet'}/images && python -c" in said
    mini = imagenet(tmp_path / "published")
    copy = [str(mini.folder / "images"), str(mini.folder / "classnames.txt")]
    assert main([*words, *(word for path in copy for word in ("--from", path))]) == 1
    assert "imagenet: 5 classes, 45 images (train 30, val 15, test 15)" in capsys.readouterr().out
    assert (tmp_path / "data" / "imagenet" / "images" / "train").is_symlink()
