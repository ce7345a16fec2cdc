"""Damage whole series element by element, and take each through grouping, the door, unfolding and conversion.

    python benchmarks/conversion/fuzz_series.py [--inputs 100000] [--seed 0] [--only SEED]

In this process and in memory, some hundred inputs a second: small classic, dynamic, enhanced and tiled series of CT,
MR and PET, of which one file, or several, get elements taken out, doubled, emptied, exchanged, of another
representation, with flipped bits, odd numbers, nested sequences, or bytes changed and cut. An input ends in codes or
in volumes; a traceback, a hang, too much memory, a file without a fate ends the run with the seed of the input that
did it. So does a volume of a classic series of which one header was damaged, when it has other voxels than the whole
series has, or lies elsewhere by more than the tolerance.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from pipeline import index
from pipeline.door import part_facts, wanted_slices
from pipeline.export import KEPT
from pipeline.facegate import guard_faces
from pipeline.io import nifti
from pipeline.io.dicom import read_dataset
from pipeline.io.policy import load_policy
from pipeline.io.quiet import hush
from pipeline.io.source import Entry
from pipeline.model.errors import CurationError
from pipeline.model.identified import Identified, Key
from pipeline.model.plan import refs_and_frames
from pipeline.model.series import SourceFile, Stack
from pipeline.model.volume import Measure, Volume, corner_distance
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import deidentify
from pipeline.stages.face import said_part
from pipeline.stages.ingest import ingest
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantity_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from scanned import Scan, encoded, grid, mosaic, smooth

MEMORY_BYTES = 3 * 2**30
"""Address space of this process: a bomb fails instead of taking the machine with it."""

SECONDS = 10
"""An input that takes longer is a hang."""

PORTION = 10_000
"""After so many inputs the counts are told."""

TOLERANCE_MM = 0.1
"""How far a volume may lie from that of the whole series: the tolerance of a slice's place."""

KEY, POLICY = Key(bytes(range(32))), load_policy()


# Elements as bytes


@dataclass
class Node:
    """One element, explicit VR little-endian: its value as bytes, or as the items of a sequence."""

    tag: int
    vr: str
    value: bytes | list[list[Node]]
    length: int | None = None
    """A length that is written instead of the true one."""

    def encode(self) -> bytes:
        """Return the element as it is written (PS3.5 7.1.2)."""
        value = self.value if isinstance(self.value, bytes) else b"".join(map(_item, self.value))
        size = len(value) if self.length is None else self.length
        head = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF) + self.vr.encode("latin-1")[:2].ljust(2)
        if self.vr in LONG:
            return head + struct.pack("<HI", 0, size & 0xFFFFFFFF) + value
        return head + struct.pack("<H", size & 0xFFFF) + value


LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
"""Representations with four bytes of length."""

VRS = (*LONG, *"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(), "??", "\0\0", "ZZ")  # noqa: SIM905
"""Representations that there are, and some that there are not."""


def _item(nodes: Sequence[Node]) -> bytes:
    body = b"".join(node.encode() for node in nodes)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def nodes_of(dataset: Dataset) -> list[Node]:
    """Return a dataset's elements; those that were read keep their bytes."""
    found = []
    for tag in sorted(dataset.keys()):
        raw = dataset.get_item(tag)
        if getattr(raw, "VR", None) == "SQ":
            items: bytes | list[list[Node]] = [nodes_of(one) for one in dataset[tag].value]
        elif isinstance(raw, RawDataElement):
            items = bytes(raw.value or b"")
        else:
            items = written(raw)
        found.append(Node(int(tag), str(raw.VR), items))
    return found


def written(element: DataElement) -> bytes:
    """Return the value of an element that was parsed, as it is written."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element, ["iso8859"])
    # Implicit VR: four bytes of tag and four of length stand before the value (PS3.5 7.1.3).
    return buffer.getvalue()[8:]


def copied(nodes: Sequence[Node]) -> list[Node]:
    """Return nodes that may be changed without changing the first ones."""
    return [
        Node(
            one.tag,
            one.vr,
            one.value if isinstance(one.value, bytes) else [copied(item) for item in one.value],
        )
        for one in nodes
    ]


@dataclass
class Image:
    """One file: what stands before its elements, and these."""

    head: bytes
    nodes: list[Node]

    def encode(self) -> bytes:
        """Return the file."""
        return self.head + b"".join(node.encode() for node in self.nodes)


def image_of(dataset: Dataset) -> Image:
    """Return a dataset's file in parts."""
    content = encoded(dataset)
    length = int.from_bytes(content[140:144], "little")
    return Image(content[: 144 + length], nodes_of(read_dataset(content)))


# Damage


def levels(nodes: list[Node]) -> list[list[Node]]:
    """Return the list itself and those of all items in it."""
    found = [nodes]
    for node in nodes:
        if not isinstance(node.value, bytes):
            for item in node.value:
                found += levels(item)
    return found


def picked(image: Image, dice: random.Random) -> tuple[list[Node], int]:
    """Return a level and the place of an element in it; pixels seldom."""
    many = [level for level in levels(image.nodes) if level]
    level = many[0] if dice.random() < 0.6 else dice.choice(many)
    place = dice.randrange(len(level))
    if level[place].tag == 0x7FE00010 and dice.random() < 0.8:
        place = dice.randrange(len(level))
    return level, place


ODD = (
    b"", b" ", b"0", b"-0", b"1e300", b"-1e-300 ", b"NaN", b"inf ", b"1\\2\\3\\4", b"\\", b"\\\\", b"\xff\xff",
    b"99999999999999999999", b"0.1", b"-5", b"\x1b$B", b"A" * 70, b"DOE^JANE", b"1.2.3", b"\x01\0\0\0\0\0\0\x80",
    b"\0\0", b"9" * 400,
)  # fmt: skip
"""Values that elements should not have."""


def flip(image: Image, dice: random.Random) -> None:
    """Flip one to three bits of a value."""
    level, place = picked(image, dice)
    value = level[place].value
    if isinstance(value, bytes) and value:
        changed = bytearray(value)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        level[place].value = bytes(changed)


def odd(image: Image, dice: random.Random) -> None:
    """Give an element a value that it should not have."""
    level, place = picked(image, dice)
    value = dice.choice(ODD) if dice.random() < 0.8 else dice.randbytes(dice.randrange(16))
    level[place].value = value + b" " * (len(value) % 2)


def drop(image: Image, dice: random.Random) -> None:
    """Take an element out."""
    level, place = picked(image, dice)
    del level[place]


def double(image: Image, dice: random.Random) -> None:
    """Write an element twice, sometimes far from its place."""
    level, place = picked(image, dice)
    level.insert(
        place if dice.random() < 0.5 else dice.randrange(len(level) + 1), copied(level[place : place + 1])[0]
    )


def borrow(image: Image, dice: random.Random) -> None:
    """Give an element the value of another."""
    level, place = picked(image, dice)
    other, there = picked(image, dice)
    level[place].value = copied(other[there : there + 1])[0].value


def retag(image: Image, dice: random.Random) -> None:
    """Give an element another tag, one bit off or that of another."""
    level, place = picked(image, dice)
    other, there = picked(image, dice)
    level[place].tag = (
        level[place].tag ^ (1 << dice.randrange(32)) if dice.random() < 0.5 else other[there].tag
    )


def represent(image: Image, dice: random.Random) -> None:
    """Give an element another representation."""
    level, place = picked(image, dice)
    if isinstance(level[place].value, bytes):
        level[place].vr = dice.choice(VRS)


def stretch(image: Image, dice: random.Random) -> None:
    """Write a wrong length."""
    level, place = picked(image, dice)
    level[place].length = dice.choice((0, 1, 2, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, dice.randrange(4096)))


def nest(image: Image, dice: random.Random) -> None:
    """Put an element into sequences in sequences."""
    level, place = picked(image, dice)
    node = level[place]
    for _ in range(dice.choice((1, 2, 5, 100, 3000))):
        node = Node(dice.choice((node.tag, 0x00081140, 0x52009229, 0x52009230)), "SQ", _item([node]))
    level[place] = node


def repeat(image: Image, dice: random.Random) -> None:
    """Give a sequence more items, or fewer."""
    many = [node for level in levels(image.nodes) for node in level if not isinstance(node.value, bytes)]
    if many:
        items = dice.choice(many).value
        assert isinstance(items, list)
        if items and dice.random() < 0.5:
            del items[dice.randrange(len(items))]
        elif items:
            items.insert(dice.randrange(len(items)), copied(dice.choice(items)))


WAYS: tuple[Callable[[Image, random.Random], None], ...] = (
    flip, flip, flip, odd, odd, drop, drop, double, borrow, retag, represent, stretch, nest, repeat,
)  # fmt: skip


def bent(content: bytes, dice: random.Random) -> bytes:
    """Return a file with bytes changed, put in, taken out or cut off, its head seldom spared."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4))):
        place, way = dice.randrange(len(changed)), dice.randrange(4)
        if way <= 1:
            changed[place] ^= 1 << dice.randrange(8)
        elif way == 2:
            del changed[max(place, 1) : place + dice.randrange(1, 9)]
        else:
            changed = changed[: max(place, 1)]
    return bytes(changed)


# The way of a series


@dataclass
class Series:
    """A series: its files in parts and as read, and the volumes that it makes whole."""

    name: str
    is_classic: bool
    images: list[Image]
    contents: list[bytes]
    whole: list[Volume]


_WHOLE: dict[tuple[bytes, int], SourceFile] = {}
"""Index lines of whole files: only what is damaged is read anew."""


def seen(content: bytes, number: int, *, is_whole: bool) -> SourceFile:
    """Return the index line of a file."""
    if is_whole and (content, number) in _WHOLE:
        return _WHOLE[content, number]
    path = f"/{number}" if is_whole else "/" + hashlib.sha256(content).hexdigest()
    file = index.seen(Entry(path, None, f"s/{number}", (0, 0), lambda: content, None), None)
    if is_whole:
        _WHOLE[content, number] = file
    return file


def clean(content: bytes) -> Dataset:
    """Return a file's dataset as it comes through the door."""
    (dataset,) = deidentify(
        Identified([read_dataset(content)]), policy=POLICY, key=KEY, admits_text=True
    ).value
    return dataset


def volume_of(stack: Stack, contents: dict[str, bytes], cleaned: dict[bytes, Dataset]) -> Volume:
    """Return a stack's volume, as `curate convert` makes it, or refuse."""
    if stack.code is not None:
        raise CurationError(stack.code, wanted="one volume", found="a series that is none")
    refs, frames = refs_and_frames(stack)
    files = [contents[ref.path] for ref in refs]
    slices = wanted_slices([cleaned.get(one) or clean(one) for one in files], frames)
    volume = orient(convert(slices, Measure(quantity_of(stack.facts)[0])).value).value
    guard_faces({"image": volume}, {"image": said_part(part_facts(slices[0]))}, KEPT)
    data = volume.data if volume.data.dtype in (np.int16, np.float32) else volume.data.astype(np.float32)
    nifti.encode(data, volume.affine)
    return volume


def made_of(
    files: Sequence[tuple[SourceFile, bytes]], cleaned: dict[bytes, Dataset]
) -> tuple[list[Volume], list[str]]:
    """Return the volumes of files, and the codes of what is none; each file has one fate."""
    contents = {file.ref.path: content for file, content in files}
    grouping = ingest([file for file, _ in files])
    places = Counter(file.ref for file, _ in grouping.set_aside)
    places.update(file.ref for file in (*grouping.labels, *grouping.tables))
    places.update(ref for stack in grouping.stacks for ref in {file.ref for file in stack.files})
    assert set(places) == {file.ref for file, _ in files}, "a file without a fate"
    volumes, codes = [], [code for _, code in grouping.set_aside]
    for stack in grouping.stacks:
        try:
            volumes.append(volume_of(stack, contents, cleaned))
        except CurationError as error:
            codes.append(error.code)
    return volumes, codes


def all_series() -> list[Series]:
    """Return the series that damage starts from."""
    few, more = smooth(6, 5, 4), smooth(6, 5, 5)
    dynamic = [
        Scan(few + 40 * t, "MR", intercept=0, elements={"TemporalPositionIdentifier": t + 1})
        for t in range(2)
    ]  # fmt: skip
    points = [one for scan in dynamic for one in scan.classic()]
    for number, one in enumerate(points):
        one.SOPInstanceUID, one.InstanceNumber = f"1.2.826.3.{number + 1}", number + 1
    weighted = [
        one
        for b in (0, 1000)
        for one in Scan(few + b // 9, "MR", intercept=0, elements={"DiffusionBValue": b}).classic()
    ]
    for number, one in enumerate(weighted):
        one.SOPInstanceUID = f"1.2.826.4.{number + 1}"
    mr = Scan(few, "MR", intercept=0)
    oblique = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
    made = {
        "ct": (True, Scan(more).classic()),
        "ct oblique": (True, Scan(more, orientation=oblique).classic()),
        "mr": (True, Scan(more, "MR", intercept=0, step=-2.5).classic()),
        "pt": (False, Scan(more, "PT", slopes=(1, 0.5, 3, 2.25, 0.75), intercept=0).classic()),
        "mr dynamic": (True, points),
        "mr diffusion": (True, weighted),
        "ct enhanced": (False, [Scan(few).enhanced()]),
        "mr enhanced": (False, [Scan(few, "MR", slopes=(1, 2), intercept=0).enhanced(range(3, -1, -1))]),
        "pt enhanced": (False, [Scan(few, "PT", slopes=(1, 2, 3), intercept=0).enhanced()]),
        "mosaic": (False, [mosaic(mr)]),
        "grid": (False, [grid(mr)]),
    }
    found = []
    for name, (is_classic, datasets) in made.items():
        images = [image_of(one) for one in datasets]
        contents = [image.encode() for image in images]
        files = [(seen(one, number, is_whole=True), one) for number, one in enumerate(contents)]
        volumes, codes = made_of(files, {})
        assert volumes and not codes, (name, codes)
        found.append(Series(name, is_classic, images, contents, volumes))
    return found


# One input


PIXELS = 0x7FE00010


def tried(series: Series, dice: random.Random, cleaned: dict[bytes, Dataset]) -> tuple[str, list[str]]:
    """Damage a series and convert it; return how, and the codes met, `made` for a volume."""
    contents = list(series.contents)
    victims = [dice.randrange(len(contents))]
    if dice.random() < 0.15:
        victims = sorted({dice.randrange(len(contents)) for _ in range(3)})
    ways, is_header = [], True
    for victim in victims:
        image = Image(series.images[victim].head, copied(series.images[victim].nodes))
        for way in dice.choices(WAYS, k=dice.choice((1, 1, 1, 2, 3))):
            way(image, dice)
            ways.append(way.__name__)
        contents[victim] = image.encode()
        if dice.random() < 0.15:
            contents[victim] = bent(contents[victim], dice)
            ways.append("bent")
        is_header = is_header and pixels_of(image.nodes) == pixels_of(series.images[victim].nodes)
    if dice.random() < 0.05:
        del contents[dice.randrange(len(contents))]
        ways.append("lost")
    elif dice.random() < 0.05:
        contents.append(dice.choice(contents))
        ways.append("again")
    elif dice.random() < 0.03 and len(contents) > 1:
        one, other = dice.sample(range(len(contents)), 2)
        contents[one], contents[other] = contents[other], contents[one]
    files = [(seen(one, number, is_whole=one in cleaned), one) for number, one in enumerate(contents)]
    volumes, codes = made_of(files, cleaned)
    if series.is_classic and len(victims) == 1 and is_header and "bent" not in ways:
        for volume in volumes:
            judge(volume, series)
    return "+".join(sorted(set(ways))), [*codes, *("made" for _ in volumes)]


def pixels_of(nodes: Sequence[Node]) -> list[tuple[bytes | list[list[Node]], int | None, str]]:
    """Return the pixel data that a file holds, and how they are written."""
    return [(node.value, node.length, node.vr) for node in nodes if node.tag == PIXELS]


def judge(volume: Volume, series: Series) -> None:
    """Stop where a volume is none of the whole series', nor one of them that lost slices at an end."""
    if not any(is_part(volume, whole) for whole in series.whole):
        raise AssertionError("a volume with other voxels, or that lies elsewhere")


def is_part(volume: Volume, whole: Volume) -> bool:
    """Whether a volume is another, perhaps without a slice or two at an end."""
    for axis in range(3):
        lost = whole.data.shape[axis] - volume.data.shape[axis]
        for start in range(max(lost, 0) + 1) if lost <= 2 else ():
            cut = [slice(None)] * 3
            cut[axis] = slice(start, start + volume.data.shape[axis])
            data = whole.data[tuple(cut)]
            affine = np.array(whole.affine)
            affine[:3, 3] += affine[:3, axis] * start
            if (
                data.shape == volume.data.shape
                and np.array_equal(data, volume.data)
                and corner_distance(data.shape, affine, volume.affine) <= TOLERANCE_MM + 1e-5
            ):
                return True
    return False


def told(met: Counter[str]) -> None:
    """Print how often each code was met."""
    for code, count in met.most_common():
        print(f"{count:8d} {code}", flush=True)


def hung(*_: object) -> None:
    """End an input that takes too long."""
    raise TimeoutError(f"an input took more than {SECONDS} s")


def main() -> int:
    """Run the inputs; 1 when one of them ends in anything but a code or a right volume."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--inputs", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", type=int)
    words.add_argument("--go-on", action="store_true", help="count what is wrong instead of stopping at it")
    asked = words.parse_args()
    hush()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, hung)
    every = all_series()
    cleaned = {content: clean(content) for series in every for content in series.contents}
    met: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    slowest = (0.0, -1)
    for seed in range(asked.seed, asked.seed + asked.inputs) if asked.only is None else [asked.only]:
        dice = random.Random(seed)
        series = dice.choice(every)
        begun = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            _, codes = tried(series, dice, cleaned)
        except BaseException as fault:
            if not asked.go_on or isinstance(fault, KeyboardInterrupt):
                print(f"seed {seed}, {series.name}", file=sys.stderr)
                raise
            wrong[f"{type(fault).__name__}: {str(fault)[:60]}"] += 1
            print(
                f"seed {seed}, {series.name}: {type(fault).__name__} {str(fault)[:80]}",
                file=sys.stderr,
                flush=True,
            )
            continue
        finally:
            signal.alarm(0)
        met.update(codes)
        if (seed - asked.seed) % PORTION == PORTION - 1:
            print(f"after {seed - asked.seed + 1} inputs, {time.process_time():.0f} s of CPU")
            told(met)
        slowest = max(slowest, (time.perf_counter() - begun, seed))
    told(met)
    print(f"slowest: {slowest[0]:.2f} s, seed {slowest[1]}")
    for what, count in wrong.items():
        print(f"WRONG {count:8d} {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
