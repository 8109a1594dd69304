"""The device's side: no torch, damaged packages are refused by name, pictures of a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from python_at_once import python_at_once

from loreal_plugin.edge import Package
from loreal_plugin.edge.command import main
from loreal_plugin.edge.layout import MANIFEST, SUMS, sums_of
from loreal_plugin.edge.stream import Timings, files_in, stream
from loreal_plugin.errors import CheckpointError, ConfigError, DataError
from loreal_plugin.use.sources import pictures_of

ROOT = Path(__file__).resolve().parents[2]
# what a device lacks: only the packages that edge is said to need may be imported
ABSENT = ("torch", "torchvision", "onnx", "safetensors", "yacs", "scipy", "tqdm", "psutil")


@pytest.fixture
def copy(package_of: Callable, tmp_path: Path) -> Path:
    """Give a copy of a package to damage."""
    return Path(shutil.copytree(package_of("maple", "static").folder, tmp_path / "copy"))


def test_a_package_runs_where_torch_cannot_be_imported(package_of: Callable, tmp_path: Path):
    made = package_of("maple", "static")
    program = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
from loreal_plugin.edge.command import main
code = main([{str(made.folder)!r}, "--selftest", *{made.files[:2]!r}, "--json"])
rooms = {{m.split(".")[1] for m in sys.modules if m.startswith("loreal_plugin.")}}
leaves = {{"digests", "errors", "files", "pictures", "plain_output", "version"}}
print(sorted(rooms - leaves - {{"edge"}}))
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("self-test passed: 8 pictures, pixels differ by 0")
    assert [json.loads(line)["picture"] for line in lines[1:3]] == made.files[:2]
    assert lines[-1] == "[]"  # no other room was needed


def test_what_a_device_needs_and_lacks_is_one_line():
    program = """
import runpy, sys
sys.modules["PIL"] = None
sys.argv = ["edge", "package", "cat.jpg"]
runpy.run_module("loreal_plugin.edge", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "PIL" in done.stderr and "pip install numpy pillow onnxruntime" in done.stderr


def test_a_flipped_byte_in_any_file_is_refused_by_name(copy: Path):
    Package.open(copy)
    files = [p for p in copy.rglob("*") if p.is_file()]
    assert len(files) == 7
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=path.name):
            Package.open(copy)
        path.write_bytes(kept)
    (copy / "heads" / "toy.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"toy\.onnx cannot be read"):
        Package.open(copy)


def rewrite(folder: Path, **changed: object) -> None:
    """Change fields of a description, with right hashes."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8")) | changed
    text = json.dumps(manifest)
    (folder / MANIFEST).write_text(text, "utf-8")
    (folder / SUMS).write_text(sums_of(text.encode(), manifest["files"]), "utf-8")


def test_another_schema_version_gets_a_clear_error(copy: Path):
    rewrite(copy, schema_version=2)
    with pytest.raises(CheckpointError, match=r"version 2; this release reads .* version 1"):
        Package.open(copy)


def test_what_this_release_cannot_follow_is_refused(copy: Path, tmp_path: Path):
    picture = json.loads((copy / MANIFEST).read_text("utf-8"))["picture"]
    rewrite(copy, picture=picture | {"colours": "BGR"})
    with pytest.raises(CheckpointError, match="colours is 'BGR', not RGB"):
        Package.open(copy)
    with pytest.raises(CheckpointError, match="no package in"):
        Package.open(tmp_path)
    rewrite(copy, picture=picture)
    heads = json.loads((copy / MANIFEST).read_text("utf-8"))["heads"]
    heads["toy"]["file"] = "../outside.onnx"
    rewrite(copy, heads=heads)
    with pytest.raises(CheckpointError, match="outside the package"):
        Package.open(copy)


def test_heads_by_name_by_file_and_of_another_run(package_of: Callable, copy: Path):
    with pytest.raises(ConfigError, match="unknown head 'tooy'; did you mean 'toy'"):
        Package.open(copy, head="tooy")
    run = json.loads((copy / MANIFEST).read_text("utf-8"))["run"]
    rewrite(copy, run=run | {"key": "6" * 64})
    for head in ("toy", copy / "heads" / "toy.safetensors"):
        with pytest.raises(CheckpointError, match="belongs to another run"):
            Package.open(copy, head=head)


def test_a_folder_of_pictures_in_order_with_a_broken_one(package_of: Callable, tmp_path: Path):
    made = package_of("maple", "static")
    folder = tmp_path / "my pictures"
    (folder / "below").mkdir(parents=True)
    for index, path in enumerate(made.files):
        shutil.copy(path, folder / "below" / f"{index} é.PNG")
    (folder / "a.jpg").write_bytes(b"no picture")
    package, timings = Package.open(made.folder), Timings()
    found = list(stream(package, files_in([str(folder)]), timings, readers=3, batch=3))
    assert [path.name for path, _ in found] == ["a.jpg", *(f"{i} é.PNG" for i in range(8))]
    assert isinstance(found[0][1], DataError) and "a.jpg" in str(found[0][1])
    wanted = np.concatenate([package.logits(package.pixels(p)[None]) for p in made.files])
    assert np.abs(np.stack([logits for _, logits in found[1:]]) - wanted).max() < 1e-4
    assert timings.pictures == 8 and min(timings.decode, timings.resize, timings.encode) > 0
    with pytest.raises(DataError, match="has no picture"):
        files_in([str(tmp_path / "my pictures" / "below" / "..")] * 0 + [str(copy_empty(tmp_path))])


def test_a_folder_has_the_pictures_that_predict_finds(tmp_path: Path):
    for name in (
        "b.JPG",
        "a/c.pgm",
        "._b.jpg",
        ".thumbs/b.jpg",
        "a/.c.png",
        "notes.txt",
        "d.png/e",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = files_in([str(tmp_path)])
    assert found == [tmp_path / "b.JPG", tmp_path / "a" / "c.pgm"]
    assert [str(path) for path in found] == [one.name for one in pictures_of([str(tmp_path)])]


def test_a_reader_that_goes_is_no_error(package_of: Callable):
    made = package_of("maple", "static")
    command = [python_at_once(), "-m", "loreal_plugin.edge", str(made.folder)]
    # more than a pipe takes at once: the writer is still at work when the reader goes
    command += [*made.files * 40, "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout and json.loads(run.stdout.readline())["picture"] == made.files[0]
        run.stdout.close()
        told = run.stderr.read() if run.stderr else ""
    assert run.returncode == 141 and "Traceback" not in told and "Broken" not in told, told


def copy_empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def test_the_command_line_names_what_is_wrong(
    package_of: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    made = package_of("maple", "static")
    assert main([str(made.folder)]) == 2
    assert "no picture was named" in capsys.readouterr().err
    (tmp_path / "broken.png").write_bytes(b"x")
    assert main([str(made.folder), made.files[0], str(tmp_path / "broken.png"), "--top", "2"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(made.files[0]) and out.count(",") == 1
    assert "broken.png" in err and "1 picture," in err and "decode" in err
    assert main([str(tmp_path), made.files[0]]) == 2


def test_pixels_that_do_not_fit_and_a_picture_that_is_no_list(package_of: Callable):
    package = Package.open(package_of("maple", "static").folder)
    with pytest.raises(DataError, match=r"uint8 \(B, 32, 32, 3\), got float32"):
        package.logits(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(DataError, match="must be a list"):
        package.predict(Image.new("RGB", (8, 8)))
