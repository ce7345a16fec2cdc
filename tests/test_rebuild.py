"""A small release of the phantom, made again from its sources."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Curate, Demo

from pipeline.io.workspace import create
from pipeline.model.errors import UsageError
from pipeline.rebuild import Terms, rebuild

TASK = "Task02_Heart"
SHIPPED = Path(__file__).parents[1] / "rules"


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory, curate: Curate) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("heart") / "demo")
    curate("demo", demo.folder, "--task", TASK)
    curate("init", demo.workspace, "--key", demo.truth / "demo.key")
    curate("release", demo.source, "-w", demo.workspace, "-r", demo.release, "--workers", "1")
    return demo


@pytest.fixture
def spoilt(heart: Demo, tmp_path: Path) -> Path:
    return Path(shutil.copytree(heart.release, tmp_path / "spoilt"))


@pytest.fixture
def again(heart: Demo, curate: Curate) -> Callable[..., dict[str, Any]]:
    def run(release: Path, *words: str | Path, code: int = 0) -> dict[str, Any]:
        said = curate(
            "rebuild",
            release,
            heart.source,
            "-w",
            heart.workspace,
            "--workers",
            "1",
            "--json",
            *words,
            code=code,
        )
        document: dict[str, Any] = json.loads(said.stdout)
        return document

    return run


def reseal(release: Path, member: str, old: bytes, new: bytes) -> None:
    """Exchange bytes of equal length in one file."""
    content = (release / member).read_bytes()
    assert old in content
    (release / member).write_bytes(content.replace(old, new, 1))


@pytest.mark.slow
def test_a_release_made_again_elsewhere_is_equal_to_the_byte(
    heart: Demo, tmp_path: Path, curate: Curate
) -> None:
    moved = tmp_path / "other place"
    moved.mkdir()
    shutil.copytree(heart.source / TASK, moved / TASK)
    words = ("rebuild", heart.release, moved, "-w", heart.workspace, "--workers", "2", "--json")
    made = json.loads(curate(*words).stdout)
    assert (made["equal"], made["made"], made["reused"], made["comparison"]) == ("bytes", 4, 0, None)
    assert made["files"] == dict.fromkeys((f"{TASK}.manifest.jsonl", f"{TASK}.tar", "release.json"), "same")
    assert not list(heart.folder.glob(".tmp-*"))
    assert not (heart.workspace / "private/rebuild").exists()


@pytest.mark.slow
def test_a_changed_rule_is_named_with_its_room_and_the_cases_it_changed(
    heart: Demo, tmp_path: Path, again: Any
) -> None:
    rules = (SHIPPED / f"{TASK}.yaml").read_text().replace("99.5", "90")
    (tmp_path / f"{TASK}.yaml").write_text(rules)
    made = again(heart.release, "--rules", tmp_path, code=5)
    (task,) = made["comparison"]["tasks"]
    assert made["equal"] == "no"
    assert made["explained"]
    assert [(why["kind"], why["stage"]) for why in task["why"]] == [("rule", "scale")]
    assert {case["stage"] for case in task["cases"]} == {"scale MRI"}
    assert {case["parts"]["image"]["state"] for case in task["cases"]} == {"voxels"}
    labels = {case["parts"]["label"]["state"] for case in task["cases"] if "label" in case["parts"]}
    assert labels == {"same"}


@pytest.mark.slow
def test_another_version_is_named_and_equal_voxels_are_no_finding(spoilt: Path, again: Any) -> None:
    manifest = f"{TASK}.manifest.jsonl"
    reseal(spoilt, manifest, b'"binding":"deflate 0.9.0"', b'"binding":"deflate 0.8.0"')
    made = again(spoilt)
    (task,) = made["comparison"]["tasks"]
    assert (made["equal"], made["files"][manifest]) == ("voxels", "differs")
    assert [why["text"] for why in task["why"]] == ["compressor.binding deflate 0.8.0 -> deflate 0.9.0"]


@pytest.mark.slow
def test_a_changed_voxel_in_the_release_is_found_and_located(spoilt: Path, again: Any) -> None:
    tar = (spoilt / f"{TASK}.tar").read_bytes()
    start = tar.index(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    size = int(tar[start - 512 + 124 : start - 512 + 135], 8)
    name = tar[start - 512 : start - 412].rstrip(b"\x00").decode()
    plain = bytearray(gzip.decompress(tar[start : start + size]))
    plain[360] ^= 1
    packed = gzip.compress(bytes(plain), 9, mtime=0)
    assert len(packed) <= size, "the phantom's volumes pack at least as well at level 9"
    shown = tar[: start - 512 + 124] + b"%011o" % len(packed) + tar[start - 512 + 135 : start]
    block = bytearray(shown[-512:])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    blocks = -(-len(packed) // 512) * 512
    rest = tar[start + -(-size // 512) * 512 :]
    (spoilt / f"{TASK}.tar").write_bytes(shown[:-512] + bytes(block) + packed.ljust(blocks, b"\0") + rest)
    made = again(spoilt, code=5)
    (task,) = made["comparison"]["tasks"]
    (case,) = (case for case in task["cases"] if case["state"] != "same")
    part = case["parts"]["image"]
    assert (case["state"], case["explained"], part["members"][0]) == ("voxels", False, name)
    assert part["difference"]["differing"] == 1


@pytest.mark.slow
def test_a_killed_rebuild_goes_on_with_what_is_finished(heart: Demo, again: Any) -> None:
    shop = create(heart.workspace / "private/rebuild", heart.workspace / "private/pseudonym.key")
    shutil.copytree(heart.workspace / "store", shop.store, dirs_exist_ok=True)
    (shop.index / "left.jsonl").write_text("of a rebuild that was killed")
    made = again(heart.release)
    assert (made["equal"], made["made"], made["reused"]) == ("bytes", 0, 4)


def test_a_workspace_with_another_key_is_refused(tmp_path: Path) -> None:
    workspace = create(tmp_path / "w")
    (tmp_path / "release.json").write_text(json.dumps({"key": "0" * 16, "tasks": []}))
    with pytest.raises(UsageError, match="other-key"):
        rebuild(tmp_path, [tmp_path], workspace, Terms(), told=lambda *_: None)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key": 1}', b'{"tasks": [1]}'])
def test_what_is_no_release_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "release.json").write_bytes(content)
    with pytest.raises(UsageError, match="not-a-release"):
        rebuild(tmp_path, [tmp_path], create(tmp_path / "w"), Terms(), told=lambda *_: None)
