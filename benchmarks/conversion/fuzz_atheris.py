"""Let atheris look for a DICOM file that ends in anything but a code: guided by which branches of ours an input takes.

    python benchmarks/conversion/fuzz_atheris.py [--inputs 100000] [--seed 0] [CORPUS]

Needs atheris (`pip install atheris`), in this environment or in an environment of its own. The seeds are small
images of every layout that has code of its own: classic, enhanced, mosaic-like, deflated, RLE, implicit. An input is
read, unfolded, grouped and converted beside a whole slice. Memory and time are bounded by libFuzzer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # not in the environment of the project

with atheris.instrument_imports(include=["pipeline"]):
    from pipeline.io.dicom import read_dataset, read_header
    from pipeline.io.quiet import hush
    from pipeline.model.errors import CurationError
    from pipeline.model.volume import Quantity
    from pipeline.stages.convert import convert
    from pipeline.stages.unfold import unfold

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

MEMORY_MB, SECONDS = 2048, 20


def image(z: float, **elements: object) -> Dataset:
    """Return a slice of 6 x 5 pixels at z mm."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.{int(z)}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = "1.3", "1.4", "p"
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.PixelSpacing = 5, 6, [1, 2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = np.arange(30, dtype=np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.update(elements)
    return dataset


def enhanced() -> Dataset:
    """Return an enhanced image of two frames."""
    dataset = image(0)
    dataset.SOPClassUID, dataset.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", 2
    frames = []
    for z in (0, 1):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = dataset.PixelData * 2
    return dataset


def written(dataset: Dataset, syntax: str) -> bytes:
    """Return a file of a syntax."""
    stream = BytesIO()
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def seeds() -> list[bytes]:
    """Return the files that damage starts from."""
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless)
    tiled = image(0, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    return [
        *(written(image(0), syntax) for syntax in syntaxes),
        *(written(enhanced(), syntax) for syntax in syntaxes[:2]),
        written(tiled, ExplicitVRLittleEndian),
    ]


WHOLE = read_dataset(written(image(1), ExplicitVRLittleEndian))


def look(content: bytes) -> None:
    """Read, unfold and convert one input; only a refusal may end it."""
    try:
        header = read_header(content)
        slices = unfold(read_dataset(content)) if header.code is None else ()
        convert([*slices, WHOLE], Quantity.ARBITRARY)
    except CurationError:
        return


def main() -> None:
    """Run; atheris ends the process with a traceback and the input where something else is raised."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("corpus", type=Path, nargs="?")
    words.add_argument("--inputs", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    hush()
    with tempfile.TemporaryDirectory() as folder:
        corpus = asked.corpus or Path(folder)
        for number, content in enumerate(seeds()):
            (corpus / f"seed{number}").write_bytes(content)
        options = [
            f"-runs={asked.inputs}",
            f"-seed={asked.seed}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={SECONDS}",
        ]
        atheris.Setup([sys.argv[0], *options, "-max_len=4096", str(corpus)], look)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
