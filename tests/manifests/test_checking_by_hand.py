"""manifests/README.md does what it says: silent on a sound release, not so on any other."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_release import BRAIN, KEY, SPLEEN, Sample, put_voxels, sample, seal, tar_of, voxels_of, write_sums
from signing import PUBLISHER, STRANGER, signed, write_public

PAGE = Path(__file__).parents[2] / "manifests/README.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
TOOLS = ("bash", "sha256sum", "tar", "gzip", "jq", "diff", "cmp", "openssl")

missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


OPENED = {BRAIN: "BRATS_001", SPLEEN: "spleen_2"}


def opened(task: str, case: str, folder: Path) -> dict[str, str]:
    """Lay a case's source files into a folder; return how the page calls case, key and folder."""
    folder.mkdir()
    contents = [c for (name, _), found in sample()[task].sources.items() if name == case for c in found]
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    return {"CASE": case, "CASE_KEY": KEY.of_case(task, case).hex(), "SOURCES": str(folder)}


def by_hand(release: Path, task: str, scratch: Path) -> tuple[int, str]:
    """Run the page's blocks one after the other; return how many held, and what was said."""
    # The page's functions and variables live on from block to block, as in an auditor's shell.
    script = "\n".join(f"{block}\n(( $? == 0 )) || exit 1\necho HELD" for block in BLOCKS)
    place = {
        "RELEASE": str(release),
        "TASK": task,
        "TMPDIR": str(scratch),
        "PUBKEY": str(write_public(PUBLISHER, scratch / "publisher.pem")),
        **opened(task, OPENED[task], scratch / "sources"),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    done = subprocess.run(["bash", "-c", script], env=place, capture_output=True, text=True, check=False)
    return done.stdout.split().count("HELD"), done.stdout + done.stderr


@pytest.mark.parametrize("task", [BRAIN, SPLEEN])
def test_every_block_holds_on_a_sound_release(tmp_path: Path, task: str) -> None:
    release = signed(seal(sample(), tmp_path / "release"))

    held, said = by_hand(release, task, tmp_path)
    assert held == len(BLOCKS), said


def flipped(name: str) -> Callable[[Path], None]:
    def spoil(release: Path) -> None:
        content = bytearray((release / name).read_bytes())
        content[len(content) // 2] ^= 1
        (release / name).write_bytes(content)

    return spoil


def unlisted(release: Path) -> None:
    (release / "notes.txt").write_text("x")


def other_tar(release: Path) -> None:
    made = sample()[SPLEEN]
    (release / f"{SPLEEN}.tar").write_bytes(tar_of(made.files))
    write_sums(release)


def blank_in_line(release: Path) -> None:
    path = release / f"{SPLEEN}.manifest.jsonl"
    path.write_bytes(path.read_bytes().replace(b'":', b'": ', 1))
    write_sums(release)


def unsigned(release: Path) -> None:
    (release / "release.json.sig").unlink()
    (release / "release.intoto.jsonl").unlink()
    write_sums(release)


AFTER_SEALING: dict[str, Callable[[Path], object]] = {
    "a flipped bit in the TAR": flipped(f"{SPLEEN}.tar"),
    "a flipped bit in the manifest": flipped(f"{SPLEEN}.manifest.jsonl"),
    "a flipped bit in release.json": flipped("release.json"),
    "a file nobody lists": unlisted,
    "another TAR": other_tar,
    "a line written otherwise": blank_in_line,
    "a signature by somebody else": lambda release: signed(release, STRANGER),
    "no signature": unsigned,
    "a flipped bit in a signature": flipped("release.json.sig"),
    "a flipped bit in the statement": flipped("release.intoto.jsonl"),
}


@pytest.mark.parametrize("what", AFTER_SEALING)
def test_a_spoilt_release_does_not_hold(tmp_path: Path, what: str) -> None:
    release = signed(seal(sample(), tmp_path / "release"))
    AFTER_SEALING[what](release)

    held, _ = by_hand(release, SPLEEN, tmp_path)
    assert held < len(BLOCKS)


def other_voxels(made: Sample) -> None:
    made[SPLEEN].case("spleen_2")["image"]["voxels"] = "sha256:" + 64 * "0"


def other_file(made: Sample) -> None:
    made[SPLEEN].case("spleen_2")["image"]["file"] = "sha256:" + 64 * "0"


def same_subject(made: Sample) -> None:
    made[SPLEEN].case("spleen_3")["subject"] = made[SPLEEN].case("spleen_2")["subject"]


def same_voxels(made: Sample) -> None:
    put_voxels(made[SPLEEN], "spleen_3", "image", voxels_of(made[SPLEEN], "spleen_2", "image"))


def other_source(made: Sample) -> None:
    made[SPLEEN].case("spleen_2")["sources"]["CT"][0] = "hmac-sha256:" + 64 * "0"


def unkeyed(made: Sample) -> None:
    made[SPLEEN].case("spleen_2")["sources"]["CT"] = ["sha256:" + 64 * "0"]


def other_rules(made: Sample) -> None:
    made[SPLEEN].header["rules"]["document"]["half_turns"] = ["x"]


def other_counts(made: Sample) -> None:
    made[SPLEEN].header["counts"]["training"] = 9


def unlisted_case(made: Sample) -> None:
    made[SPLEEN].dataset["test"] = []


def miscounted(made: Sample) -> None:
    made[SPLEEN].dataset["numTest"] = 2


BEFORE_SEALING = (
    other_voxels, other_file, same_subject, same_voxels, unkeyed, other_source,
    other_rules, other_counts, unlisted_case, miscounted,
)  # fmt: skip


@pytest.mark.parametrize("spoil", BEFORE_SEALING, ids=lambda spoil: spoil.__name__)
def test_a_sealed_lie_does_not_hold(tmp_path: Path, spoil: Callable[[Sample], None]) -> None:
    made = sample()
    spoil(made)
    release = signed(seal(made, tmp_path / "release"))

    held, _ = by_hand(release, SPLEEN, tmp_path)
    assert held < len(BLOCKS)


def test_the_page_does_not_write_into_the_release(tmp_path: Path) -> None:
    release = signed(seal(sample(), tmp_path / "release"))
    before = {path.name: path.read_bytes() for path in release.iterdir()}
    by_hand(release, SPLEEN, tmp_path)

    assert {path.name: path.read_bytes() for path in release.iterdir()} == before
