from __future__ import annotations

import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from pipeline.io.document import canonical, digest_of
from pipeline.io.plainyaml import read_plain
from pipeline.io.ruleset import FAULT_LIMIT, load_rules, load_task, rules_schema, shipped_rules
from pipeline.model.errors import RulesError

SHIPPED = sorted(shipped_rules().glob("Task*.yaml"))

OWN = """
format: curate-rules/1
task: Task11_Kidney
header:
  name: Kidney
  description: Kidneys and cysts
  reference: Made-up Hospital
  licence: CC-BY-SA 4.0
  release: "1.0"
cases:
  id: "kidney_{:03d}"
  split: {training: 3, test: 1}
channels:
  - name: CT
    quantity: hounsfield
    select:
      Modality: {equals: CT}
      plane: {equals: axial}
    scale: {method: keep}
label:
  classes:
    - {value: 1, name: kidney, from_names: ["(left|right)? ?kidney"]}
about:
  sources: Made up.
  labels: Made up.
"""


def own(folder: Path, text: str = OWN, name: str = "Task11_Kidney.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(RulesError) as caught:
        load_task(path)
    assert caught.value.code == "rules-invalid"
    return caught.value.found.splitlines()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_loads_and_is_called_like_its_task(path: Path) -> None:
    loaded = load_task(path)

    assert loaded.rules.task == path.stem
    assert loaded.published is not None


def test_ten_tasks_ship() -> None:
    assert [name[:6] for name in load_rules(None)] == [f"Task{number:02d}" for number in range(1, 11)]


def test_an_eleventh_task_is_one_more_file(tmp_path: Path) -> None:
    own(tmp_path)

    loaded = load_rules(tmp_path)

    assert len(loaded) == 11
    assert loaded["Task11_Kidney"].published is None
    assert loaded["Task11_Kidney"].rules.channels[0].name == "CT"


def test_a_file_of_ones_own_replaces_the_shipped_task_and_keeps_its_published_ids(tmp_path: Path) -> None:
    text = (shipped_rules() / "Task05_Prostate.yaml").read_text()
    own(tmp_path, text.replace("percentiles: [0.5, 99.5]", "percentiles: [1, 99]"), "Task05_Prostate.yaml")

    before, after = load_rules(None), load_rules(tmp_path)

    assert list(before) == list(after)
    assert {name for name in before if before[name].digest != after[name].digest} == {"Task05_Prostate"}
    assert after["Task05_Prostate"].published == before["Task05_Prostate"].published


def test_a_file_with_five_faults_names_all_five_with_their_places(tmp_path: Path) -> None:
    text = OWN.replace("name: CT\n", "name: CT\n    colour: grey\n").replace(
        "keep}", "robust_min_max, percentiles: [1, 9], over: all}"
    )
    text = (
        text.replace("Modality", "Modallity")
        .replace("test: 1", "test: one")
        .replace("  licence: CC-BY-SA 4.0\n", "")
    )

    assert faults(own(tmp_path, text)) == [
        "$.header.licence: wanted this key, found nothing (line 5)",
        '$.cases.split.test: wanted a whole number, found "one" (line 11)',
        "$.channels[0].colour: wanted known keys only, found an unknown key (line 14)",
        "$.channels[0].select.Modallity: wanted a keyword that the index keeps, "
        "found an unknown one, perhaps meant as Modality (line 17)",
        "$.channels[0].scale.method: wanted keep, because the channel is quantitative, "
        "found robust_min_max (line 19)",
    ]


def test_faults_of_writing_and_of_meaning_are_said_together(tmp_path: Path) -> None:
    text = OWN.replace("task: Task11_Kidney", "task: Task11_Kidney\ntask: Task12_Kidney").replace(
        "test: 1", "test: 01"
    )
    text = text.replace("sources: Made up.", "sources: &s Made up.").replace("labels: Made up.", "labels: *s")

    assert faults(own(tmp_path, text)) == [
        "$.task: wanted the key once, found it again, after line 3 (line 4)",
        "$.cases.split.test: wanted a plain decimal number, or text in quotes, found 01 (line 13)",
        "$.about.sources: wanted a value without an anchor (&), found one (line 25)",
        "$.about.labels: wanted the value itself, found an alias (*) (line 26)",
    ]


def test_a_number_out_of_its_bounds_is_named_with_them(tmp_path: Path) -> None:
    text = OWN.replace("  classes:", "  threshold: 0\n  classes:").replace("value: 1,", "value: 70000,")

    assert faults(own(tmp_path, text)) == [
        "$.label.threshold: wanted more than 0, found 0 (line 21)",
        "$.label.classes[0].value: wanted 1, counting from 1, found 70000 (line 23)",
        "$.label.classes[0].value: wanted 65535 or less, found 70000 (line 23)",
    ]


def test_a_hundred_faults_are_cut_short(tmp_path: Path) -> None:
    extra = "".join(f"key{number}: 1\n" for number in range(100))

    found = faults(own(tmp_path, OWN + extra))

    assert len(found) == FAULT_LIMIT + 1
    assert found[-1] == "and 50 more"


def test_the_message_says_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = own(tmp_path, OWN.replace("Task11_Kidney", "Kidney"))

    with pytest.raises(RulesError, match=re.escape(str(path))) as caught:
        load_task(path)

    assert "curate rules schema" in str(caught.value)


def test_the_digest_is_of_what_the_rules_say_and_not_of_how_they_are_written(tmp_path: Path) -> None:
    written = load_task(own(tmp_path))
    other = (
        OWN.replace("test: 1", "test: 1, seed: 0")
        .replace("task:", "# a comment\ntask:")
        .replace('"1.0"', "'1.0'")
    )
    moved = "".join(["about: {sources: Made up., labels: Made up.}\n", other[: other.index("about:")]])

    assert load_task(own(tmp_path, moved)).digest == written.digest
    assert load_task(own(tmp_path, OWN.replace("test: 1", "test: 2"))).digest != written.digest


def test_the_document_is_the_canonical_form_that_the_digest_is_of(tmp_path: Path) -> None:
    loaded = load_task(own(tmp_path))

    assert loaded.digest == digest_of(canonical(loaded.document))
    assert isinstance(loaded.document, dict)
    assert loaded.document["cases"] == {
        "id": "kidney_{:03d}",
        "split": {"seed": "0", "test": "1", "training": "3"},
    }


def test_published_ids_of_an_own_task_lie_under_splits(tmp_path: Path) -> None:
    path = own(tmp_path, OWN.replace("  split:", "  published: Task11_Kidney.yaml\n  split:"))
    assert faults(path) == [
        '$.cases.published: wanted a file under splits/, found no "Task11_Kidney.yaml" there'
    ]

    (tmp_path / "splits").mkdir()
    ids = tmp_path / "splits" / "Task11_Kidney.yaml"
    ids.write_text(
        "task: Task11_Kidney\nsource: made up\ntraining: [kidney_001, kidney_2]\ntest: [kidney_001]\n"
    )
    assert faults(path) == [
        "splits/Task11_Kidney.yaml: $.training[1]: wanted ids like kidney_{:03d}, found kidney_2 (line 3)",
        "splits/Task11_Kidney.yaml: $.test[0]: wanted each case once, found kidney_001 again (line 4)",
    ]

    ids.write_text("task: Task11_Kidney\nsource: made up\ntraining: [kidney_001]\ntest: [kidney_002]\n")
    published = load_task(path).published
    assert published is not None
    assert published.test == ("kidney_002",)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", ".hidden", "a/b.yaml"])
def test_published_ids_are_read_from_splits_only(tmp_path: Path, name: str) -> None:
    path = own(tmp_path, OWN.replace("  split:", f"  published: {name}\n  split:"))

    assert faults(path) == [f'$.cases.published: wanted a file\'s name under splits/, found "{name}"']


def test_two_files_of_one_task_are_refused(tmp_path: Path) -> None:
    own(tmp_path)
    own(tmp_path, OWN, "other.yml")

    with pytest.raises(RulesError, match=r"other.yml: \$.task: wanted one file a task"):
        load_rules(tmp_path)


def test_faults_of_all_files_of_a_folder_are_said(tmp_path: Path) -> None:
    own(tmp_path, OWN + "a: 1\n", "a.yaml")
    own(tmp_path, OWN + "b: 1\n", "b.yaml")

    with pytest.raises(RulesError) as caught:
        load_rules(tmp_path)

    assert [line.split(":")[0] for line in caught.value.found.splitlines()] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_rules_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(RulesError) as caught:
        load_rules(tmp_path / name)
    assert caught.value.code == "rules-not-found"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError) as caught:
        load_task(tmp_path / "Task11_Kidney.yaml")
    assert caught.value.code == "rules-not-found"


def test_the_schema_accepts_every_shipped_file_and_no_misspelling() -> None:
    schema = rules_schema()
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in SHIPPED:
        document = read_plain(path.read_bytes()).value
        assert list(validator.iter_errors(document)) == []
        document["channels"][0]["select"]["Modallity"] = {"equals": "CT"}
        assert list(validator.iter_errors(document))
