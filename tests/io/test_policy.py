"""The policy is read strictly, says every fault, and is the standard's table row by row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.io.policy import load_policy
from pipeline.io.policyfiles import POLICY_FILES, shipped_policy
from pipeline.model.deid import Act, Items
from pipeline.model.errors import RulesError

TABLE = json.loads((shipped_policy() / "table-e1-1.json").read_text())
SECOND = json.loads((Path(__file__).parents[2] / "benchmarks/deid/dicom-anonymizer-2026c.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped policy, to spoil."""
    return Path(shutil.copytree(shipped_policy(), tmp_path / "deid"))


def spoil(folder: Path, name: str, before: str, after: str) -> str:
    """Change one file of a policy; return what the reader says of it."""
    path = folder / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(RulesError) as caught:
        load_policy(folder)
    return caught.value.found


def test_the_shipped_policy_loads_and_is_the_same_every_time() -> None:
    assert load_policy().digest == load_policy(shipped_policy()).digest
    assert load_policy().edition == "2026d"


@pytest.mark.parametrize("name", POLICY_FILES)
def test_the_digest_covers_every_file(folder: Path, name: str) -> None:
    before = load_policy(folder).digest
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert load_policy(folder).digest != before


@pytest.mark.parametrize("name", POLICY_FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RulesError, match=name):
        load_policy(folder)


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("allow.yaml", "  Rows: [1, 65535]", "  Rowz: [1, 65535]", "Rowz: no DICOM keyword"),
        ("allow.yaml", "  Rows: [1, 65535]", "  Rows: [1]", "$.numbers.Rows"),
        ("allow.yaml", "subject: [PatientName", "subject: [Rows, PatientName", "Rows: has two kinds"),
        ("allow.yaml", "  pixels:", "  pixels: []\n  pixels:", "the key once"),
        ("allow.yaml", "  - PixelData", "  - PatientAge", "PatientAge: not allowed"),
        ("allow.yaml", "    - +pixels", "    - +pixles", "+pixles: no such group"),
        ("allow.yaml", "    - SamplesPerPixel", "    - PatientAge", "PatientAge: no kind says how to check it"),
        ("allow.yaml", "BodyPartExamined: body_part", "BodyPartExamined: body", "body: no such vocabulary"),
        ("policy.yaml", "options: [clean_descriptors", "options: [keep_all", "keep_all: no option of the table"),
        ("policy.yaml", "CTImageStorage", "CTPictureStorage", "CTPictureStorage: no SOP class"),
        ("policy.yaml", "shift_days: [1", "shift_days: [0", "$.shift_days"),
        ("private.yaml", 'group: "0019"', 'group: "0018"', "group"),
        ("vocabulary.yaml", "patterns: [\"[ALRPHF]", "patterns: [\"([ALRPHF]", "regular expression"),
        ("table-e1-1.json", '"rows": [', '"rowz": [', "rowz"),
        ("table-e1-1.json", '"rows": [', '"rows": {', "JSON"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(folder: Path, name: str, before: str, after: str, said: str) -> None:
    assert said in spoil(folder, name, before, after)


def test_the_table_has_all_rows_and_option_columns_of_its_edition() -> None:
    assert (TABLE["edition"], len(TABLE["rows"]), len(TABLE["options"])) == ("2026d", 657, 10)
    assert {action for row in TABLE["rows"] for action in row[5].values()} == {"K", "C"}
    assert len({row[0] for row in TABLE["rows"]}) == 657


def test_the_table_agrees_row_by_row_with_a_second_source() -> None:
    """dicom-anonymizer 2.1.0, one edition older, other authors, other parser; it has no option columns."""
    ours = {row[0]: row[4] for row in TABLE["rows"]}
    theirs = SECOND["actions"]
    assert SECOND["edition"] == "2026c"
    assert set(theirs) <= set(ours)
    # Dose Calculation Model Name came with 2026d; private elements are no tag to the second source.
    assert {tag: action for tag, action in ours.items() if theirs.get(tag) != action} == {
        "3004007F": "X",
        "PRIVATE": "X",
    }


def test_no_element_passes_that_the_table_removes_under_the_chosen_options() -> None:
    """Each allowed element against the row of its tag: the allow-list never hopes for more than the table gives."""
    policy = load_policy()
    for purpose in policy.purposes.values():
        for tag, handling in policy.scopes[purpose.name].items():
            acts = {handling.check.act, Act.EMPTIED}
            if not any(purpose.gate.admits(tag, act) for act in acts):
                assert handling.keyword in {"PatientSize", "PatientWeight"}
                assert purpose.name != "pt"


def test_every_sequence_has_its_scope() -> None:
    policy = load_policy()
    for scope in policy.scopes.values():
        for handling in scope.values():
            assert not isinstance(handling.check, Items) or handling.check.scope in policy.scopes


def test_no_level_leads_back_to_itself() -> None:
    """However deep a file nests its sequences, the walk ends."""
    policy = load_policy()

    def depth(name: str, above: tuple[str, ...]) -> int:
        assert name not in above, name
        inner = [h.check.scope for h in policy.scopes[name].values() if isinstance(h.check, Items)]
        return 1 + max((depth(scope, (*above, name)) for scope in inner), default=0)

    assert max(depth(purpose.name, ()) for purpose in policy.purposes.values()) < 10


def test_overlays_curves_and_private_elements_are_stopped_by_pattern() -> None:
    gate = next(iter(load_policy().purposes.values())).gate
    assert not any(
        gate.admits(tag, act)
        for tag in (0x60003000, 0x60023000, 0x50000005)
        for act in (Act.KEPT, Act.SHIFTED)
    )
    assert gate.admits(0x00091001, Act.CLEANED)
    assert not gate.admits(0x00091001, Act.KEPT)
