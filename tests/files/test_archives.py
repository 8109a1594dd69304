"""Archives from elsewhere write nothing outside their folder, no links, and no flood of bytes."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from loreal_plugin.errors import ArchiveError
from loreal_plugin.files import archives
from loreal_plugin.files.archives import is_archive, unpack


def tar_of(path: Path, *entries: tuple[str, bytes | None, bytes]) -> Path:
    """Write a tar of (name, content or None for a link, type)."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
        for name, content, kind in entries:
            facts = tarfile.TarInfo(name)
            facts.type, facts.size, facts.linkname = kind, len(content or b""), "../../secret"
            packed.addfile(facts, io.BytesIO(content or b""))
    return path


def zip_of(path: Path, name: str, content: bytes, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        facts = zipfile.ZipInfo(name)
        facts.external_attr, facts.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        packed.writestr(facts, content)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_files_and_folders_are_unpacked(tmp_path: Path, name: str):
    made = tar_of(
        tmp_path / name,
        ("one", None, tarfile.DIRTYPE),
        ("one/a.txt", b"A", tarfile.REGTYPE),
        ("two/b.txt", b"B", tarfile.REGTYPE),
    )
    assert is_archive(made)
    unpack(made, tmp_path / "out")
    assert below(tmp_path / "out") == {"a.txt": b"A", "b.txt": b"B"}
    packed = zip_of(tmp_path / "b.zip", "x/c.txt", b"C")
    unpack(packed, tmp_path / "zip")
    assert below(tmp_path / "zip") == {"c.txt": b"C"}


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str):
    path = tmp_path / f"a.{kind}"
    made = (
        zip_of(path, name, b"x") if kind == "zip" else tar_of(path, (name, b"x", tarfile.REGTYPE))
    )
    with pytest.raises(ArchiveError, match="leads out of the folder"):
        unpack(made, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil")) and not Path("/evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes):
    made = tar_of(tmp_path / "a.tar", ("thing", None, kind))
    with pytest.raises(ArchiveError, match="is a (link|device), not a file"):
        unpack(made, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    made = zip_of(tmp_path / "a.zip", "thing", b"/etc/passwd", stat.S_IFLNK | 0o777)
    with pytest.raises(ArchiveError, match="is a link"):
        unpack(made, tmp_path / "out")


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1 << 20)
    made = zip_of(tmp_path / "a.zip", "zeros", bytes(8 << 20))
    assert made.stat().st_size * archives.MOST_GROWTH < 1 << 20
    with pytest.raises(ArchiveError, match="bomb"):
        unpack(made, tmp_path / "out")
    assert sum(map(len, below(tmp_path / "out").values())) <= 1 << 20


def test_damage_and_clashes_are_one_sentence(tmp_path: Path):
    whole = tar_of(tmp_path / "a.tar.gz", ("a.txt", bytes(range(256)) * 400, tarfile.REGTYPE))
    content = whole.read_bytes()
    for number, broken in enumerate((content[:-40], content[:-8] + bytes(8), b"no archive")):
        path = tmp_path / f"{number}.tar.gz"
        path.write_bytes(broken)
        with pytest.raises(ArchiveError, match="damaged"):
            unpack(path, tmp_path / f"out{number}")
    clash = [("a", b"x", tarfile.REGTYPE), ("a/b", b"y", tarfile.REGTYPE)]
    with pytest.raises(ArchiveError, match="a file and a folder of one name"):
        unpack(tar_of(tmp_path / "clash.tar", *clash), tmp_path / "clash")
