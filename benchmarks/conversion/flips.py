"""Flip bits of the headers of a real series, one at a time: each must end in a code or in the same volume.

    python benchmarks/conversion/flips.py ../shared/data/real/crlm-ct-1004 [...] [--flips 5000] [--seed 0]

Whatever stands before the pixel data is the header: preamble, file meta information, tags, representations, lengths
and values. The pixels are cut to the middle of each slice, so that a flip takes a hundredth of a second. Prints how
many flips changed nothing, were refused or set aside by code, placed the volume within the stated tolerance, or made
another volume without a word, each of these with its element. `its own rescale` counts flips of the rescale in series
of which each slice has one of its own (PET): there, nothing tells.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from fuzz_series import Image, Series, clean, image_of, is_part, made_of, seen
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.io.quiet import hush
from pipeline.model.volume import Volume

SIDE = 24
"""Rows and columns that are kept of each slice."""

PIXELS, RESCALE = 0x7FE00010, {0x00281052, 0x00281053}


def cropped(path: Path) -> Dataset:
    """Return a slice with the middle of its pixels, not compressed; its place is that of what is left."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    top, left = (max(size - SIDE, 0) // 2 for size in pixels.shape)
    kept = np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])
    dataset.Rows, dataset.Columns = kept.shape
    dataset.PixelData = kept.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if not dataset.get("PatientID"):
        dataset.PatientID = "4711"
    return dataset


def series_in(folder: Path) -> Series:
    """Return a real series, cropped; it must make one volume."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]
    images = [image_of(cropped(path)) for path in paths]
    contents = [image.encode() for image in images]
    volumes, codes = made_of([(seen(one, n, is_whole=True), one) for n, one in enumerate(contents)], {})
    assert len(volumes) == 1 and not codes, (folder, codes)
    return Series(folder.name, True, images, contents, volumes)


def places_of(image: Image) -> list[tuple[int, int]]:
    """Return where each element of a file begins, and its tag; 0 for what stands before all of them."""
    places, at = [(0, 0)], len(image.head)
    for node in image.nodes:
        places.append((at, node.tag))
        at += len(node.encode())
    return places


def verdict(found: tuple[Sequence[Volume], Sequence[str]], whole: Volume, tag: int, has_own: bool) -> str:
    """Return what a flip did."""
    volumes, codes = found
    right = [volume for volume in volumes if is_part(volume, whole)]
    if len(right) < len(volumes):
        return "its own rescale" if has_own and tag in RESCALE else "OTHER VOLUME"
    if codes:
        return f"said: {sorted(set(codes))[0]}"
    (volume,) = right or (None,)
    if volume is None or volume.data.shape != whole.data.shape:
        return "SHORTER VOLUME"
    return "nothing" if np.array_equal(volume.affine, whole.affine) else "moved within tolerance"


def main() -> int:
    """Flip, and print what came of it; 1 when a volume was made that is another."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("series", type=Path, nargs="+")
    words.add_argument("--flips", type=int, default=5000)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    hush()
    is_wrong = False
    for folder in asked.series:
        series, dice = series_in(folder), random.Random(asked.seed)
        cleaned = {content: clean(content) for content in series.contents}
        rescales = {str(pydicom.dcmread(BytesIO(one)).get("RescaleSlope")) for one in series.contents}
        has_own = len(rescales) > 2
        met: Counter[str] = Counter()
        for _ in range(asked.flips):
            victim = dice.randrange(len(series.contents))
            places = places_of(series.images[victim])
            (end,) = (at for at, tag in places if tag == PIXELS)
            place, bit = dice.randrange(end), dice.randrange(8)
            tag = max((at, tag) for at, tag in places if at <= place)[1]
            changed = bytearray(series.contents[victim])
            changed[place] ^= 1 << bit
            contents = [*series.contents]
            contents[victim] = bytes(changed)
            files = [(seen(one, n, is_whole=n != victim), one) for n, one in enumerate(contents)]
            what = verdict(made_of(files, cleaned), series.whole[0], tag, has_own)
            if what.isupper():
                is_wrong = True
                what += f" {keyword_for_tag(tag) or hex(tag)}, slice {victim} as read"
            met[what] += 1
        print(f"{series.name}: {len(series.contents)} slices, {asked.flips} flips")
        for what, count in met.most_common():
            print(f"{count:8d} {what}")
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
