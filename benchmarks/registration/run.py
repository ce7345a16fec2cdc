"""Move real volumes by known amounts and see how far from them registration ends.

    .venv/bin/python benchmarks/registration/run.py ../shared/data/real [--only NAME]...

A volume is sampled anew as if the patient had been moved by up to 40 mm and 20 degrees: what was in the field leaves
it, other slices cut the body. Of pairs of one frame of reference the one is moved against the other. The line of a case
says how far the fixed image's centre and directions are from the truth, or with which code registration refused; the
last lines say the worst of each kind. Where a pair was taken one after the other (a diffusion image and T2), the truth
of the header is that of the table and not of the body: its lines are for reading, not for a bound.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from pipeline.model.errors import CurationError
from pipeline.model.volume import Volume
from pipeline.stages.register import register

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PROSTATE = "prostatex-0000/complete"
SAME = {
    "ct-liver": "crlm-ct-1004",
    "mr-prostate-t2": f"{PROSTATE}:t2_tse_tra",
    "mr-prostate-adc": f"{PROSTATE}:ADC",
    "mr-abdomen-t2": "crc-adc-001/t2_image",
    "mr-head-t1": "mr-decubitus-hfdr",
    "ct-thigh": "ibsi-sts/dicom/STS_002/CT/image",
    "mr-thigh": "ibsi-sts/dicom/STS_003/MR_T1/image",
}
"""One series each, moved against itself with noise of its own."""
OTHER = {
    "diffusion onto adc": (f"{PROSTATE}:DYNDISTCALC_BVAL", f"{PROSTATE}:ADC"),
    "adc onto t2": (f"{PROSTATE}:ADC", f"{PROSTATE}:t2_tse_tra"),
    "abdomen adc onto t2": ("crc-adc-001/adc_image", "crc-adc-001/t2_image"),
    "thigh mr onto ct": ("ibsi-sts/dicom/STS_002/MR_T1/image", "ibsi-sts/dicom/STS_002/CT/image"),
}
MOVES = {
    "none": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "9 mm, 11 degrees": ((4.0, -6.0, 8.0), (5.0, -7.0, 3.0)),
    "24 mm, 16 degrees": ((-9.0, 5.0, -12.0), (18.0, -14.0, 8.0)),
    "40 mm, 23 degrees": ((8.0, -10.0, 20.0), (-28.0, 26.0, 10.0)),
    "16 mm, 21 degrees": ((-20.0, 3.0, -4.0), (10.0, 10.0, -8.0)),
}
"""Angles about three axes in degrees and shifts in mm; the name says how far and how much in all."""


@dataclass(frozen=True)
class Outcome:
    """How far from the truth an image was put, or the code of its refusal."""

    mm: float
    degrees: float
    text: str


def read(root: Path, name: str) -> Volume:
    """Return the series of a folder; after a colon, the one whose description holds a word."""
    folder, _, word = name.partition(":")
    reader = SimpleITK.ImageSeriesReader()
    for below in [root / folder, *sorted(path for path in (root / folder).rglob("*") if path.is_dir())]:
        for series in sorted(reader.GetGDCMSeriesIDs(str(below))):
            files = reader.GetGDCMSeriesFileNames(str(below), series)
            first = SimpleITK.ImageFileReader()
            first.SetFileName(files[len(files) // 2])
            first.ReadImageInformation()
            said = first.GetMetaData("0008|103e") if first.HasMetaDataKey("0008|103e") else ""
            if len(files) > 3 and word.lower() in said.lower():
                unique = {SimpleITK.ReadImage(file).GetOrigin(): file for file in reversed(files)}
                return volume_of(SimpleITK.ReadImage([file for file in files if file in unique.values()]))
    raise SystemExit(f"no series: {name}")


def volume_of(image: SimpleITK.Image) -> Volume:
    """Return an image as the pipeline has it, RAS+."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    data = SimpleITK.GetArrayFromImage(image).astype(np.float32).transpose()
    return Volume(np.asfortranarray(data), LPS @ affine)


def image_of(data: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Return voxels (I, J, K) with a RAS+ affine as SimpleITK has them, LPS+."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose()))
    columns = (LPS @ affine)[:3]
    spacing = np.linalg.norm(columns[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(columns[:, 3].tolist())
    image.SetDirection((columns[:, :3] / spacing).ravel().tolist())
    return image


def rigid(degrees: tuple[float, ...], shift_mm: tuple[float, ...], centre: np.ndarray) -> np.ndarray:
    """Return the 4 x 4 matrix of a turn about a centre and a shift."""
    turn = SimpleITK.Euler3DTransform(centre.tolist(), *np.radians(degrees).tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(turn.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift_mm
    return matrix


def centre_of(volume: Volume) -> np.ndarray:
    """Return the centre of a volume's field, RAS+ mm."""
    return (volume.affine @ [*((np.array(volume.data.shape) - 1) / 2), 1])[:3]


def moved(volume: Volume, move: np.ndarray) -> Volume:
    """Return what the same slices would show of a patient who was moved, with noise of its own."""
    onto = image_of(np.zeros(volume.data.shape, dtype=np.float32), move @ volume.affine)
    low = float(volume.data.min())
    there = SimpleITK.Resample(
        image_of(volume.data, volume.affine), onto, SimpleITK.Transform(), SimpleITK.sitkLinear, low
    )
    data = SimpleITK.GetArrayFromImage(there).transpose()
    noise = np.random.default_rng(3).normal(0, 0.01 * float(data.std()), data.shape)
    return Volume(np.asfortranarray(data + noise).astype(np.float32), volume.affine)


def tried(moving: Volume, fixed: Volume, name: str) -> Outcome:
    """Move one image by a move of the table, and register it."""
    centre = centre_of(fixed)
    true = rigid(*MOVES[name], centre)
    try:
        found = register(moved(moving, true), fixed).value.move.affine
    except CurationError as refusal:
        return Outcome(0.0, 0.0, refusal.code)
    off = found @ np.linalg.inv(true)
    mm = float(np.linalg.norm((off @ [*centre, 1])[:3] - centre))
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(off[:3, :3]) - 1) / 2, -1, 1))))
    return Outcome(mm, degrees, f"{mm:6.2f} mm {degrees:6.2f} degrees")


def main() -> None:
    """Print a line a case, and the worst of each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument("--only", action="append")
    given = parser.parse_args()
    for kind, pairs in (
        ("one series", {name: (path, path) for name, path in SAME.items()}),
        ("two contrasts", OTHER),
    ):
        outcomes = []
        for name, (moving, fixed) in pairs.items():
            if given.only and name not in given.only:
                continue
            images = read(given.real, moving), read(given.real, fixed)
            for move in MOVES:
                begun = time.process_time()
                outcomes.append(tried(*images, move))
                print(
                    f"{name:20} {move:18} {outcomes[-1].text}  {time.process_time() - begun:.1f} CPU s",
                    flush=True,
                )
        if outcomes:
            worst = max(one.mm for one in outcomes), max(one.degrees for one in outcomes)
            refused = sum("mm" not in one.text for one in outcomes)
            print(
                f"{kind}: {len(outcomes)} moves, worst {worst[0]:.2f} mm and {worst[1]:.2f} degrees, {refused} refused"
            )


if __name__ == "__main__":
    main()
