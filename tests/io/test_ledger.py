"""The private ledger gives back what was written, whatever a path is made of."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.io import ledger
from pipeline.io.ledger import FATE_COLUMNS, Row
from pipeline.model.identified import Key
from pipeline.model.series import Fate, Kind, SourceFile, SourceRef

KEY = Key(bytes(32))
ODD = '/Doe, "Jane"/\n=1+1;/M\udcfcller/é\u2028'
"""A path with all that breaks tables: quotes, a line's end, a formula, bytes that are no UTF-8."""


def file(path: str = "/a", member: str | None = None, **facts: object) -> SourceFile:
    return SourceFile(SourceRef(path, member, "0" * 64, 7), "inside", "Task01_A", Kind.IMAGE, None, facts)


FILES = [file(), file(ODD, ODD, PatientID="Doe^Jane", EchoTime=4.6, ImageType=["A", "B"], Rows=0)]


def test_a_stage_in_some_row_is_not_overlooked(tmp_path: Path) -> None:
    path = tmp_path / "fates.csv"
    assert not ledger.may_name_stages(path, ["build"])
    row = dict.fromkeys(FATE_COLUMNS, "x")
    ledger.rewrite_fates(path, [{**row, "stage": "plan", "path": ODD}, {**row, "stage": "review"}])
    assert ledger.may_name_stages(path, ["build", "review"])
    assert not ledger.may_name_stages(path, ["build"])


def test_an_index_gives_back_its_files_and_stamps(tmp_path: Path) -> None:
    lines = [(one, (number, 2**62)) for number, one in enumerate(FILES)]

    encoded = [ledger.index_line(*line) for line in lines]

    assert ledger.write_index(tmp_path / "a.jsonl", Path(ODD), encoded) == 2
    assert list(ledger.read_index_file(tmp_path / "a.jsonl")) == lines


PATHS = st.text(max_size=20) | st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))


@settings(max_examples=40, deadline=None)
@given(path=PATHS, value=st.text(max_size=10) | st.floats(allow_nan=False) | st.integers())
def test_any_path_and_value_survive(
    tmp_path_factory: pytest.TempPathFactory, path: str, value: object
) -> None:
    folder = tmp_path_factory.mktemp("index")
    one = file(path, path, EchoTime=value)
    ledger.write_index(folder / "a.jsonl", Path("/root"), [ledger.index_line(one, (0, 0))])

    assert list(ledger.read_index(folder)) == [one]
    assert len(ledger.reference(KEY, one.ref)) == 10


def test_roots_come_in_the_order_of_their_names_not_of_their_tokens(tmp_path: Path) -> None:
    for root in ("/z", "/m", "/a", "/q"):
        path = ledger.index_path(tmp_path, Path(root), KEY)
        ledger.write_index(path, Path(root), [ledger.index_line(file(root), (0, 0))])

    assert [one.ref.path for one in ledger.read_index(tmp_path)] == ["/a", "/m", "/q", "/z"]


def test_a_file_below_two_roots_is_listed_once_as_the_deeper_one_says(tmp_path: Path) -> None:
    for root, task in (("/a", "Task01_A"), ("/a/b", "Task02_B"), ("/a/b.tar", "Task03_C"), ("/", "Task04_D")):
        every = ("/a/1", "/a/b/1", "/a/bb/1", "/a/b.tar")
        paths = [path for path in every if Path(path).is_relative_to(root)]
        lines = [ledger.index_line(replace(file(path), task=task), (0, 0)) for path in paths]
        ledger.write_index(ledger.index_path(tmp_path, Path(root), KEY), Path(root), lines)

    assert {one.ref.path: one.task for one in ledger.read_index(tmp_path)} == {
        "/a/1": "Task01_A", "/a/b/1": "Task02_B", "/a/bb/1": "Task01_A", "/a/b.tar": "Task03_C",
    }  # fmt: skip
    assert len(list(ledger.read_index(tmp_path))) == 4


def test_an_index_in_another_format_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.write_index(tmp_path / "a.jsonl", Path("/a"), [ledger.index_line(file(), (0, 0))])
    monkeypatch.setattr(ledger, "INDEX_FORMAT", "curate-index/0")

    assert list(ledger.read_index(tmp_path)) == []


def test_the_name_of_an_index_tells_nothing_of_its_root(tmp_path: Path) -> None:
    path = ledger.index_path(tmp_path, Path("/DOE_JANE"), KEY)

    assert "DOE" not in path.name
    assert path == ledger.index_path(tmp_path, Path("/DOE_JANE"), KEY)
    assert path != ledger.index_path(tmp_path, Path("/DOE_JANE"), Key(b"\x01" * 32))


def test_what_names_persons_is_private(tmp_path: Path) -> None:
    ledger.write_index(tmp_path / "index", Path("/a"), [])
    ledger.write_fates(tmp_path / "fates", [], KEY)
    ledger.write_crosswalk(tmp_path / "crosswalk", ledger.Crosswalk())

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_fates_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        Row(FILES[0], Fate.USED, "", "Task01_A", "a_1", "CT"),
        Row(FILES[1], Fate.REFUSED, "truncated", "Task01_A"),
        Row(file("/b"), Fate.PENDING),
    ]
    ledger.write_fates(tmp_path / "fates.csv", rows, KEY)
    read = list(ledger.read_fates(tmp_path / "fates.csv"))

    assert [row["path"] for row in read] == ["/a", ODD, "/b"]
    assert [row["fate"] for row in read] == ["used", "refused", "pending"]
    assert [row["stage"] for row in read] == ["plan", "plan", "index"]
    assert read[1]["member"] == ODD
    assert read[1]["ref"] == ledger.reference(KEY, FILES[1].ref)
    ledger.rewrite_fates(tmp_path / "again.csv", read)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "fates.csv").read_bytes()


def test_a_table_program_sees_the_columns(tmp_path: Path) -> None:
    ledger.write_fates(tmp_path / "fates.csv", [Row(FILES[0], Fate.USED)], KEY)
    with (tmp_path / "fates.csv").open(newline="") as stream:
        assert tuple(next(csv.reader(stream))) == FATE_COLUMNS


def test_a_reference_names_one_file_and_nobody() -> None:
    refs = [
        SourceRef("/DOE", None, "", 0), SourceRef("/DOE", "a", "", 0), SourceRef("/DOE/a", None, "", 0),
        SourceRef("/DOE", "b", "", 0),
    ]  # fmt: skip
    names = [ledger.reference(KEY, ref) for ref in refs]

    assert len(set(names)) == len(refs)
    assert all(set(name) <= set("0123456789abcdef") for name in names)


def test_a_crosswalk_is_remembered_and_absent_at_first(tmp_path: Path) -> None:
    dealt = ledger.Crosswalk({"b": ("a_2", "test"), "a": ("a_1", "training")}, {"s": "test"})

    assert ledger.read_crosswalk(tmp_path / "crosswalk.json") == ledger.Crosswalk()
    ledger.write_crosswalk(tmp_path / "crosswalk.json", dealt)
    assert ledger.read_crosswalk(tmp_path / "crosswalk.json") == dealt
    assert list(ledger.read_fates(tmp_path / "fates.csv")) == []
