"""A workspace is whole or not there, its key is private, and one run at a time works in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.io.workspace import Settings, Workspace, create, holder, locked, open_workspace
from pipeline.model.errors import CurationError, PrivacyError, UsageError

SECRET = bytes(range(32)).hex()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "workspace")


def code(refusal: pytest.ExceptionInfo[CurationError]) -> str:
    return refusal.value.code


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_private_places_are_private_whatever_the_umask(tmp_path: Path) -> None:
    made = create(tmp_path / "workspace")
    private = [made.private, made.index, made.plans, made.withheld, made.scratch]

    assert {folder.stat().st_mode & 0o777 for folder in private} == {0o700}
    assert made.key_file.stat().st_mode & 0o777 == 0o600


def test_what_is_made_can_be_opened(workspace: Workspace) -> None:
    opened = open_workspace(workspace.root)

    assert opened == workspace
    assert opened.key().fingerprint == workspace.key().fingerprint
    assert opened.settings() == Settings()
    assert all(folder.is_dir() for folder in (opened.store, opened.refusals, opened.review))


def test_two_workspaces_have_two_keys(tmp_path: Path, workspace: Workspace) -> None:
    assert create(tmp_path / "other").key().fingerprint != workspace.key().fingerprint


def test_a_key_can_be_brought(tmp_path: Path) -> None:
    (tmp_path / "escrow").write_text(SECRET.upper() + "\n")
    made = create(tmp_path / "workspace", tmp_path / "escrow")

    assert made.key().secret.hex() == SECRET
    assert made.key_file.read_text() == SECRET + "\n"


@pytest.mark.parametrize(
    "text", ["", SECRET[:-2], SECRET + "00", "g" * 64, "ß" * 32, SECRET[:32] + "\n" + "x"]
)
def test_what_is_no_key_makes_no_workspace(tmp_path: Path, text: str) -> None:
    (tmp_path / "escrow").write_text(text)

    with pytest.raises(PrivacyError) as refusal:
        create(tmp_path / "workspace", tmp_path / "escrow")
    assert code(refusal) == "key-invalid"
    assert not (tmp_path / "workspace").exists()
    assert SECRET[:20] not in str(refusal.value)


def test_a_workspace_is_never_made_over_another(workspace: Workspace) -> None:
    before = workspace.key_file.read_bytes()

    with pytest.raises(UsageError) as refusal:
        create(workspace.root)
    assert code(refusal) == "workspace-exists"
    assert workspace.key_file.read_bytes() == before


@pytest.mark.parametrize("name", ["notes.txt", "private"])
def test_a_folder_in_use_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with pytest.raises(UsageError) as refusal:
        create(tmp_path)
    assert code(refusal) == "output-exists"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_is_no_place_for_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UsageError) as refusal:
        create(tmp_path / "file")
    assert code(refusal) == "output-exists"


def test_a_workspace_that_was_half_made_is_none(workspace: Workspace) -> None:
    workspace.settings_file.unlink()

    with pytest.raises(UsageError) as refusal:
        open_workspace(workspace.root)
    assert code(refusal) == "workspace-missing"


@pytest.mark.parametrize("place", ["private", "private/pseudonym.key"])
@pytest.mark.parametrize("bit", [0o040, 0o010, 0o004, 0o001])
def test_a_key_that_others_may_reach_stops_everything(workspace: Workspace, place: str, bit: int) -> None:
    path = workspace.root / place
    path.chmod(path.stat().st_mode | bit)

    with pytest.raises(PrivacyError) as refusal:
        open_workspace(workspace.root)
    assert (code(refusal), refusal.value.exit_code) == ("key-readable", 4)


def test_what_a_curator_deleted_is_there_again(workspace: Workspace) -> None:
    workspace.scratch.rmdir()
    workspace.review.rmdir()
    open_workspace(workspace.root)

    assert workspace.scratch.stat().st_mode & 0o777 == 0o700
    assert workspace.review.is_dir()


@pytest.mark.parametrize(
    "text", ["", "rules: null\n", "format: curate-workspace/1\nworkers: 4\nrules: mine\n"]
)
def test_settings_may_be_left_out(workspace: Workspace, text: str) -> None:
    workspace.settings_file.write_text(text)

    assert workspace.settings().format == "curate-workspace/1"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("format: curate-workspace/2\n", "$.format"),
        ("wokers: 2\n", "$.wokers"),
        ("workers: two\n", "$.workers"),
        ("workers: 0\n", "$.workers"),
        ("workers: 1.5\n", "$.workers"),
        ("rules: 7\n", "$.rules"),
        ("- a list\n", "$."),
    ],
)
def test_wrong_settings_are_named_with_their_place(workspace: Workspace, text: str, place: str) -> None:
    workspace.settings_file.write_text(text)

    with pytest.raises(UsageError) as refusal:
        workspace.settings()
    assert code(refusal) == "workspace-settings"
    assert place in refusal.value.found


@pytest.mark.parametrize(
    "content", [b"workers: 1\nworkers: 2\n", b"a: [", b"\xff\xfe", b"a: !!python/object:x {}\n"]
)
def test_settings_that_are_no_plain_yaml_are_refused(workspace: Workspace, content: bytes) -> None:
    workspace.settings_file.write_bytes(content)

    with pytest.raises(UsageError) as refusal:
        workspace.settings()
    assert code(refusal) == "workspace-settings"


def test_a_second_run_is_kept_out_and_told_who_works(workspace: Workspace) -> None:
    with locked(workspace), pytest.raises(UsageError) as refusal, locked(workspace):
        pytest.fail("two runs in one workspace")

    assert code(refusal) == "workspace-locked"
    assert str(os.getpid()) in refusal.value.found


def test_the_lock_goes_with_the_block_however_it_ends(workspace: Workspace) -> None:
    with pytest.raises(KeyError), locked(workspace):
        raise KeyError
    with locked(workspace):
        pass


def test_the_lock_dies_with_a_killed_process(workspace: Workspace) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pipeline.io.workspace import Workspace, locked\n"
        "with locked(Workspace(Path(sys.argv[1]))): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(workspace.root)], check=False).returncode < 0

    with locked(workspace):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"process": 1'])
def test_a_lock_whose_holder_did_not_say_who_it_is_still_holds(workspace: Workspace, content: bytes) -> None:
    with locked(workspace):
        (workspace.private / "lock").write_bytes(content)
        with pytest.raises(UsageError) as refusal, locked(workspace):
            pass

    assert code(refusal) == "workspace-locked"


def test_the_holder_of_a_lock_is_told_and_nobody_when_it_is_free(workspace: Workspace) -> None:
    assert holder(workspace) is None
    with locked(workspace):
        assert holder(workspace) == os.getpid()
    assert holder(workspace) is None


def test_taking_the_lock_sweeps_what_a_killed_run_left(workspace: Workspace) -> None:
    for folder in (workspace.private, workspace.index, workspace.scratch, workspace.refusals):
        (folder / ".tmp-1-half").write_bytes(b"half")
    (workspace.scratch / ".tmp-2-shelves").mkdir()
    (workspace.scratch / ".tmp-2-shelves" / "0.jsonl").write_bytes(b"half")
    with locked(workspace):
        assert not list(workspace.root.rglob(".tmp-*"))
