"""A small release in a bag."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sample_release import sample, seal

from pipeline.bag import write_bag
from pipeline.model.errors import UsageError


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return seal(sample(), tmp_path / "release")


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_bag_holds_the_release_and_sums_that_fit(release: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert write_bag(release, bag) == 6
    found = files_of(bag)
    assert {name: content for name, content in found.items() if name.startswith("data/")} == {
        f"data/{name}": content for name, content in files_of(release).items()
    }
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        for line in found[manifest].decode().splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256(found[name]).hexdigest() == digest
    size = sum(len(content) for content in files_of(release).values())
    assert f"Payload-Oxum: {size}.6\n" in found["bag-info.txt"].decode()


def test_the_same_release_gives_the_same_bag(release: Path, tmp_path: Path) -> None:
    write_bag(release, tmp_path / "one")
    write_bag(release, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_bag_is_copied_where_links_cannot_be_made(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(18, "another file system")

    monkeypatch.setattr("os.link", no_link)
    write_bag(release, tmp_path / "bag")
    assert len(list((tmp_path / "bag/data").iterdir())) == 6


def test_nothing_is_replaced_and_nothing_is_left(release: Path, tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(UsageError, match="output-exists"):
        write_bag(release, tmp_path / "bag")
    with pytest.raises(UsageError, match="not-a-release"):
        write_bag(tmp_path / "bag", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag", "release"]


@pytest.mark.filterwarnings("ignore")
def test_the_library_of_the_format_validates_it(release: Path, tmp_path: Path) -> None:
    bagit = pytest.importorskip("bagit", reason="bagit is not installed")
    write_bag(release, tmp_path / "bag")
    assert bagit.Bag(str(tmp_path / "bag")).is_valid()
    (tmp_path / "bag/data/release.json").unlink()
    assert not bagit.Bag(str(tmp_path / "bag")).is_valid()
