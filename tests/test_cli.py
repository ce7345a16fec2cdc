"""What a user sees: exit codes, messages, JSON, and nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import nibabel as nib
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from lettered import burned

from pipeline import cli
from pipeline.commands import health
from pipeline.demo import make
from pipeline.model.errors import FAULTS

TASK = "Task06_Lung"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, tasks=[TASK], cases=4, seed=0, tell=lambda what: None)
    return folder


@pytest.fixture
def curate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(cli, "hush", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(cli.talk, "_width", 400)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = cli.run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


Curate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def source(phantom: Path, tmp_path: Path) -> Path:
    """A copy of the phantom's sources that a test may damage."""
    shutil.copytree(phantom / "source", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def workspace(tmp_path: Path, curate: Curate) -> Path:
    assert curate("init", tmp_path / "ws")[0] == 0
    return tmp_path / "ws"


def release(curate: Curate, source: Path, workspace: Path, *more: object) -> tuple[int, dict[str, Any], str]:
    words = ("release", source, "-w", workspace, "-r", workspace.parent / "release", "--workers", 1, "--json")
    code, out, err = curate(*words, *more)
    return code, json.loads(out), err


def slices(source: Path) -> list[Path]:
    """The files of one plain CT series of the phantom, ordered along the normal."""
    series: dict[str, list[tuple[float, Path]]] = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if header.get("Modality") == "CT" and "LOCALIZER" not in header.get("ImageType", []):
            if "DERIVED" in header.ImageType or "ImagePositionPatient" not in header:
                continue
            cosines = np.array(header.ImageOrientationPatient)
            place = float(np.cross(cosines[:3], cosines[3:]) @ np.array(header.ImagePositionPatient))
            series.setdefault(header.SeriesInstanceUID, []).append((place, path))
    longest = max(sorted(series), key=lambda uid: len(series[uid]))
    return [path for _, path in sorted(series[longest])]


def only_refusal(document: dict[str, Any]) -> dict[str, Any]:
    (refusal,) = document["built"]["refused"]
    assert refusal["advice"]
    return dict(refusal)


def assert_nothing_half_written(folder: Path) -> None:
    assert not list(folder.rglob(".tmp-*"))


def test_an_empty_folder_is_a_usage_fault(workspace: Path, tmp_path: Path, curate: Curate) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = curate("index", tmp_path / "empty", "-w", workspace, "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "no-sources"
    assert "no-sources" in err
    assert not list(workspace.glob("private/index/*"))


def test_a_folder_of_text_files_holds_no_images_and_each_file_gets_a_fate(
    workspace: Path, tmp_path: Path, curate: Curate
) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"note{number}.dcm").write_text("not an image")
    code, out, _ = curate(
        "release", tmp_path / "texts", "-w", workspace, "-r", tmp_path / "release", "--json"
    )
    assert code == 3
    assert json.loads(out)["error"]["code"] == "no-images"
    assert not (tmp_path / "release").exists()
    fates = (workspace / "private/fates.csv").read_text().splitlines()
    assert len(fates) == 4
    assert all(",ignored,not-dicom," in line for line in fates[1:])


@pytest.mark.parametrize("keep", [0, 100, 700, -200])
def test_a_truncated_slice_refuses_its_case_even_at_the_end_of_the_stack(
    keep: int, source: Path, workspace: Path, curate: Curate
) -> None:
    last = slices(source)[-1]
    content = last.read_bytes()
    last.write_bytes(content[:keep])
    code, document, err = release(curate, source, workspace)
    assert code == 3
    assert only_refusal(document)["code"] in ("truncated", "unreadable")
    assert document["built"]["made"] == 3
    assert str(source) not in err
    assert_nothing_half_written(workspace.parent)


def test_a_missing_slice_is_named_by_its_place(source: Path, workspace: Path, curate: Curate) -> None:
    slices(source)[5].unlink()
    code, document, err = release(curate, source, workspace)
    refusal = only_refusal(document)
    assert (code, refusal["code"], refusal["stage"]) == (3, "missing-slice", "convert")
    assert "index 5" in refusal["found"]
    assert "missing-slice" in err
    assert document["audit"]["findings"] == []


def test_two_series_that_match_are_refused_until_someone_says(
    source: Path, workspace: Path, curate: Curate
) -> None:
    found = slices(source)
    twin = found[0].parent.parent / "again"
    twin.mkdir()
    for path in found:
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID += "1"
        dataset.SOPInstanceUID += "1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(twin / path.name)
    code, document, _ = release(curate, source, workspace)
    assert (code, only_refusal(document)["code"]) == (3, "two-series-match")


def test_a_label_on_another_grid_is_refused(source: Path, workspace: Path, curate: Curate) -> None:
    path = next(path for path in sorted(source.rglob("*.nii.gz")))
    label = nib.load(path)
    affine = label.affine.copy()
    affine[:3, 3] += 1.7
    data = np.asanyarray(label.dataobj)
    nib.save(nib.Nifti1Image(data, affine), path)
    code, document, _ = release(curate, source, workspace)
    assert (code, only_refusal(document)["code"]) == (3, "label-off-grid")


FAULTY = """\
format: curate-rules/1
task: Task99_Wrong
header: {name: N, description: D, reference: R, licence: L, release: 1.0}
cases: {id: "case", split: {training: 3, test: 1}}
channels:
  - name: CT
    quantity: hounsfield
    select: {Modalty: {equals: CT}}
    scale: {method: robust_min_max, percentiles: [99, 1], over: all}
label:
  classes: [{value: 1, name: x, from_names: ["("]}]
about: {sources: s, labels: l}
unknown: 1
"""


def test_text_in_a_series_stops_its_case_and_is_shown_in_the_private_zone_alone(
    source: Path, workspace: Path, tmp_path: Path, curate: Curate
) -> None:
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    for path in slices(source):
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress()
        frames, _ = burned(dataset.pixel_array[None], text="DOE J", size=11, at=(2, 5), value=2400)
        dataset.PixelData = frames[0].tobytes()
        dataset.save_as(path)

    code, document, err = release(curate, source, workspace, "--allow-refusals", 0)

    assert code == 3
    refusal = only_refusal(document)
    assert (refusal["code"], refusal["stage"], refusal["who"]) == (
        "burned-in-text",
        "screen",
        "privacy officer",
    )
    (first, *_) = pictures = list((workspace / "private/pictures").iterdir())
    assert {path.stat().st_mode & 0o777 for path in pictures} == {0o600}
    assert first.read_bytes().startswith(b"\x89PNG")
    everything = [path.read_bytes() for path in workspace.rglob("*") if path.is_file()]
    assert not any(
        b"DOE" in content for content in [*everything, json.dumps(document).encode(), err.encode()]
    )


def test_a_rules_file_with_faults_names_every_one_with_its_place(tmp_path: Path, curate: Curate) -> None:
    path = tmp_path / "Task99_Wrong.yaml"
    path.write_text(FAULTY)
    code, out, err = curate("rules", "check", path, "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "rules-invalid"
    for place in ("$.header.release", "$.cases.id", "$.channels[0].select.Modalty", "$.channels[0].scale", "$.unknown",
                  "$.label.classes[0].from_names[0]"):  # fmt: skip
        assert place in err, place


def test_allowed_refusals_end_well(source: Path, workspace: Path, curate: Curate) -> None:
    slices(source)[5].unlink()
    code, document, _ = release(curate, source, workspace, "--allow-refusals", 1)
    assert (code, document["exit"]) == (0, 0)


def test_status_ends_with_what_to_do_next(source: Path, workspace: Path, curate: Curate) -> None:
    def last() -> str:
        return curate("status", "-w", workspace)[2].splitlines()[-1]

    steps = [last()]
    for words in (("index", source), ("plan",), ("build", "--workers", 1)):
        assert curate(*words, "-w", workspace)[0] == 0
        steps.append(last())
    named = ["curate index SOURCE...", "curate plan", "curate build", "curate pack"]
    assert [name in step for name, step in zip(named, steps, strict=True)] == [True] * 4
    (workspace / "runs/now.json").write_text(json.dumps({"command": "pack", "process": 1}))
    assert "`curate pack` was killed. Next: the same line again" in last()


def test_no_workspace_no_work(tmp_path: Path, curate: Curate) -> None:
    code, out, _ = curate("plan", "-w", tmp_path, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "workspace-missing")


def test_a_key_that_others_may_read_stops_everything(workspace: Path, curate: Curate) -> None:
    (workspace / "private/pseudonym.key").chmod(0o644)
    code, out, _ = curate("status", "-w", workspace, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (4, "key-readable")


def test_a_word_that_no_command_knows_is_usage(curate: Curate) -> None:
    assert curate("rewiev")[0] == 2
    assert curate("explain", "no-such-code")[0] == 2


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_every_code_is_explained(code: str, curate: Curate) -> None:
    assert curate("explain", code)[:2] == (0, f"{code}: {FAULTS[code].meaning}\nWhat to do: {FAULTS[code].advice}\n"
                                              f"Who acts: {FAULTS[code].who}\n")  # fmt: skip


def test_a_bug_shows_where_it_is_and_not_what_it_says(
    curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = "Nobody^Norbert"

    def broken(*_: object) -> None:
        raise ValueError(person)

    monkeypatch.setattr("pipeline.io.workspace.open_workspace", broken)
    code, out, err = curate("status", "-w", "anywhere")
    assert code == 1
    assert "ValueError" in err
    assert "Norbert" not in out + err


def commands() -> list[tuple[str, ...]]:
    """Every command by its words; a group by those below it."""
    found: list[tuple[str, ...]] = []
    for name, command in sorted(cli.curate.commands.items()):
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, word) for word in sorted(command.commands)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example_and_a_json_switch(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli.curate, [*words, "--help"])
    assert result.exit_code == 0
    assert "Example: curate" in result.output
    assert "--json" in result.output


# Rules of one's own


def test_rules_are_written_from_options_and_read_strictly(tmp_path: Path, curate: Curate) -> None:
    file = tmp_path / "Task11_Kidney.yaml"
    words = (
        "--description",
        "Kidneys",
        "--reference",
        "A hospital",
        "--channel",
        "T2=MR:t2",
        "--class",
        "kidney",
    )
    code, out, _ = curate("rules", "new", file, *words, "--json")
    assert (code, json.loads(out)["task"]) == (0, "Task11_Kidney")
    assert curate("rules", "check", file)[0] == 0
    assert curate("rules", "new", file, *words)[0] == 2


def test_rules_are_written_from_answers(
    tmp_path: Path, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["Kidneys", "A hospital", "T2=MR:t2", "ADC=MR:adc", "", "kidney", ""])
    monkeypatch.setattr(cli.click, "prompt", lambda *_, **__: next(said))
    file = tmp_path / "Task11_Kidney.yaml"
    assert curate("rules", "new", file)[0] == 0
    assert list(said) == []
    assert 'name: "ADC"' in file.read_text()


@pytest.mark.parametrize(
    "words",
    [("kidney.yaml",), ("Task11_Kidney.yaml", "--channel", "T2"), ("Task11_K.yaml", "--from-plan", "t.csv")],
)
def test_rules_that_cannot_be_written_are_usage(
    words: tuple[str, ...], tmp_path: Path, curate: Curate
) -> None:
    (tmp_path / "t.csv").write_text("task,case,subject\n")
    given = [tmp_path / word if word.endswith(("yaml", "csv")) else word for word in words]
    code, _, _ = curate("rules", "new", *given, "--description", "d", "--reference", "r", "--class", "c")
    assert code == 2
    assert not list(tmp_path.glob("*.yaml"))


def test_a_release_of_fewer_cases_says_which_are_missing(
    source: Path, workspace: Path, curate: Curate
) -> None:
    _, document, _ = release(curate, source, workspace)
    (task,) = document["tasks"]
    with (workspace.parent / "release" / task["manifest"]["file"]).open() as manifest:
        header = json.loads(manifest.readline())

    assert task["missing"] == len(task["missing_cases"]) > 0
    assert task["missing_cases"] == header["missing"]


# Starting


HEAVY = (
    "dask",
    "distributed",
    "SimpleITK",
    "nibabel",
    "highdicom",
    "pydicom",
    "numpy",
    "pydantic",
    "cryptography",
)


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        (["--help"], HEAVY),
        (["explain", "missing-slice"], HEAVY),
        (["cluster", "schema"], ("dask", "distributed", "SimpleITK", "nibabel", "highdicom", "pydicom")),
        (["index", "none", "-w", "none"], ("dask", "distributed", "SimpleITK", "highdicom", "cryptography")),
        (
            ["plan", "-w", "none"],
            ("dask", "distributed", "SimpleITK", "nibabel", "highdicom", "cryptography"),
        ),
        (["status", "-w", "none"], ("dask", "distributed", "highdicom", "SimpleITK", "pydicom")),
        (["audit", "none"], ("dask", "distributed", "SimpleITK", "nibabel", "highdicom", "pydicom")),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_command_loads_only_what_it_works_with(words: list[str], spared: tuple[str, ...]) -> None:
    program = f"import sys; from pipeline.cli import run; run({words}); print('LOADED', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert set(said.rpartition("LOADED")[2].split()) & set(spared) == set()


def test_cases_that_wait_for_the_same_reason_are_told_of_together(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = [{"case": f"c{number}", "why": ["new"]} for number in range(3)]
    task = {"task": "T", "rules_changed": False, "next_build": [*waiting, {"case": "c9", "why": ["damaged"]}]}
    health._show_next_build(task)
    said = capsys.readouterr().err.splitlines()
    assert said == ["T c0 and 2 more would be made: new", "T c9 would be made: damaged"]


WRITERS = {
    "init": ("init", "{}"), "demo": ("demo", "{}"), "pack": ("pack", "-w", "ws", "-r", "{}"),
    "convert": ("convert", "in", "-o", "{}"), "deidentify": ("deidentify", "in", "-w", "ws", "-o", "{}"),
    "certs": ("cluster", "certs", "{}"), "bag": ("pack", "-w", "ws", "-r", "rel", "--bag", "{}"),
    "compare": ("compare", "in", "in", "--html", "{}"), "proposal": ("plan", "-w", "ws", "--proposal", "{}"),
    "rules": ("rules", "new", "{}"), "privacy": ("audit", "rel", "-w", "ws", "--privacy", "{}"),
}  # fmt: skip


@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_what_cannot_be_written_is_said_before_any_work(
    words: tuple[str, ...], tmp_path: Path, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("mine")
    for place in ("file/below/Task11_Own.yaml", "x" * 300):
        code, _, said = curate(*(word.format(place) for word in words))
        assert (code, place.partition("/")[0] in said or "too long" in said) == (2, True), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in"]


def test_a_named_file_is_written_into_a_folder_that_is_not_there_yet(tmp_path: Path, curate: Curate) -> None:
    rules = tmp_path / "my" / "rules" / "Task11_Kidney.yaml"
    words = ("--description", "Kidneys", "--reference", "us", "--channel", "CT=CT", "--class", "kidney")
    assert curate("rules", "new", rules, *words)[0] == 0
    assert rules.is_file()


def test_sources_that_no_rules_want_lead_to_rules_of_their_own(tmp_path: Path, curate: Curate) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("not DICOM")
    workspace = tmp_path / "ws"
    curate("init", workspace)
    curate("index", tmp_path / "in", "-w", workspace)
    code, _, said = curate("plan", "-w", workspace)
    assert (code, "curate rules new" in said, "curate build" in said) == (3, True, False)


def test_an_audit_with_a_workspace_that_planned_something_else_is_a_finding(
    source: Path, workspace: Path, tmp_path: Path, curate: Curate
) -> None:
    release(curate, source, workspace)
    curate("init", tmp_path / "other")
    code, _, said = curate("audit", tmp_path / "release", "-w", tmp_path / "other")
    assert (code, "Nobody looked for leaks" in said) == (5, True)


def test_names_of_drawings_stay_in_the_private_folder(source: Path, workspace: Path, curate: Curate) -> None:
    curate("index", source, "-w", workspace)
    curate("plan", "-w", workspace)
    code, out, said = curate("rules", "names", "-w", workspace)
    listed = workspace / "private" / "names.csv"
    assert (code, listed.stat().st_mode & 0o777) == (0, 0o600)
    assert "lung tumor" in listed.read_text()
    assert "lung tumor" not in out + said


def test_a_build_that_makes_nothing_does_not_lead_to_pack(
    source: Path, workspace: Path, curate: Curate
) -> None:
    curate("index", source, "-w", workspace)
    curate("plan", "-w", workspace)
    shutil.rmtree(source)
    code, _, said = curate("build", "-w", workspace, "--workers", 1)
    assert (code, "Made 0 cases" in said, "curate pack" in said) == (3, True, False)


def test_no_privacy_report_is_written_of_what_is_no_release(
    workspace: Path, tmp_path: Path, curate: Curate
) -> None:
    code, _, _ = curate("audit", tmp_path / "nothing", "-w", workspace, "--privacy", tmp_path / "report")
    assert (code, (tmp_path / "report").exists()) == (2, False)
