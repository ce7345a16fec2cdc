"""Shelves hold every file once, a subject's together and in order, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from pipeline.io import shelf
from pipeline.io.shelf import FILES_A_SHELF, MOST_SHELVES, Shelves, shelves
from pipeline.model.series import Kind, SourceFile, SourceRef


def image(subject: str, number: int) -> SourceFile:
    ref = SourceRef(f"/{subject}/{number}", None, "0" * 64, 7)
    return SourceFile(ref, f"{number}", "Task01_A", Kind.IMAGE, None, {"PatientID": subject})


PLACED = [(number, image(f"Müller{number % 40}\udcff", number)) for number in range(200)]


def test_every_file_is_on_one_shelf_with_all_of_its_subject_in_order(tmp_path: Path) -> None:
    with shelves(tmp_path, 9 * FILES_A_SHELF) as dealt:
        dealt.fill(PLACED)
        found = [list(dealt.read(number)) for number in range(dealt.count)]

    assert dealt.count == 9
    assert sorted((one for shelf_ in found for one in shelf_), key=lambda one: one[0]) == PLACED
    for files in found:
        assert [place for place, _ in files] == sorted(place for place, _ in files)
    homes = [{file.text("PatientID") for _, file in files} for files in found]
    assert sum(map(len, homes)) == 40
    assert sum(bool(home) for home in homes) > 1


def test_it_tells_how_far_it_is_where_there_are_several(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for shelf_count in (1, 3):
        with shelves(tmp_path, shelf_count * FILES_A_SHELF, lambda *said: told.append(said)) as dealt:
            dealt.fill(PLACED)
            for number in range(dealt.count):
                dealt.sift(number, list)
            for number in [*range(dealt.count)] * 2:
                list(dealt.read(number))
    assert told == [(done, 12) for done in range(1, 10)]


def test_what_is_sifted_out_is_gone(tmp_path: Path) -> None:
    with shelves(tmp_path, 1) as dealt:
        dealt.fill(PLACED)
        dealt.sift(0, lambda placed: (one for one in placed if one[0] % 2))

        assert list(dealt.read(0)) == PLACED[1::2]


def test_few_files_are_one_shelf_and_many_never_too_many_open_files(tmp_path: Path) -> None:
    assert Shelves(tmp_path, 0).count == Shelves(tmp_path, FILES_A_SHELF).count == 1
    assert Shelves(tmp_path, 10**9).count == MOST_SHELVES


def test_nothing_is_left_and_nobody_else_may_look(tmp_path: Path) -> None:
    with shelves(tmp_path, 1) as dealt:
        dealt.fill(PLACED)
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700

    assert list(tmp_path.iterdir()) == []
    assert folder.name.startswith(shelf.temporary_name(tmp_path).name[:5])
