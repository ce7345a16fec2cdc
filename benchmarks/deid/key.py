"""Write DICOM of invented persons with an answer key, de-identify it, and score the output by the key.

    python benchmarks/deid/key.py [--seed N] [--subjects N] [--keep DIR]

The key (`key.json`) names for each file what has to become of it, in the categories of the MIDI-B challenge and
some more. Its answers come from what was planted, and from no de-identifier. Two series have a name in their pixels:
`curate deidentify` stops them, so that they are judged as the rules of a task let them through that has text covered
(`burned_in`). A failed answer is a leak (something
is still there) or a loss (something is not). The exit code is 1 unless all answers are right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

sys.path.insert(0, str(Path(__file__).parent))

from plant import Inventor

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from lettered import burned, tissue

from pipeline.export import deidentify_sources
from pipeline.io.dicom import read_dataset, write_dataset
from pipeline.io.policy import load_policy
from pipeline.io.quiet import hush
from pipeline.model.identified import Identified, Key
from pipeline.model.rules import BurnedIn
from pipeline.pixelgate import Gate, screen_slices
from pipeline.stages.deidentify import deidentify

CT, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3"
LEAKS = {
    "text_removed", "bytes_absent", "uid_changed", "date_shifted", "patid_changed", "mark_present", "private_removed",
    "pixels_hidden",
}  # fmt: skip
"""Actions whose failure leaves something of a person; the failure of any other loses something."""

RETAINED = {
    "Rows": 16, "Columns": 16, "PixelSpacing": [0.75, 0.75], "SliceThickness": 2.5, "RescaleSlope": 1, "KVP": 120,
    "RescaleIntercept": -1024, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "BitsStored": 12, "Modality": "CT",
}  # fmt: skip
TEXTS = {
    "Manufacturer": "SIEMENS",
    "SeriesDescription": "abdomen portal venous",
    "BodyPartExamined": "ABDOMEN",
}
REMOVED = [
    "InstitutionName", "PatientAddress", "ReferringPhysicianName", "OperatorsName", "StudyComments", "StationName",
    "PatientComments", "RequestingPhysician", "AdditionalPatientHistory", "PatientMotherBirthName",
]  # fmt: skip
NOT_NULL = ["PatientName", "PatientID", "DeidentificationMethod", "StudyInstanceUID", "Modality"]
UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"]
DATES = ["StudyDate", "SeriesDate", "AcquisitionDate"]
MARKS = {
    "PatientIdentityRemoved": "YES", "LongitudinalTemporalInformationModified": "MODIFIED",
    "DeidentificationMethodCodeSequence": "113100",
}  # fmt: skip

LETTERED, LETTERED_SHAPE = 2, (192, 256)
"""Series with a name burned into their pixels, and the rows and columns of their images."""

INK, ROWS = 1900, 64
"""The name's grey value, and the row from which on nothing of it stands."""

MASK = BurnedIn(treatment="mask", why="The upper rows hold what the scanner writes.")

Answer = dict[str, Any]


def _image(invent: Inventor, study: Dataset, number: int) -> Dataset:
    dataset = Dataset()
    dataset.update(study)
    dataset.SOPClassUID, dataset.InstanceNumber = CT, number + 1
    dataset.SOPInstanceUID = invent.uid("instance")
    for keyword, value in {**RETAINED, **TEXTS}.items():
        setattr(dataset, keyword, value)
    dataset.ImageType, dataset.PhotometricInterpretation = ["ORIGINAL", "PRIMARY", "AXIAL"], "MONOCHROME2"
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.HighBit, dataset.PixelRepresentation = (
        1,
        16,
        11,
        0,
    )
    dataset.ImagePositionPatient = [-6, -6, 2.5 * number]
    for keyword in REMOVED:
        setattr(dataset, keyword, invent.name(keyword))
    dataset.private_block(0x0009, "QUAVEX", create=True).add_new(0x01, "LO", invent.name("private"))
    dataset.PixelData = invent.random.integers(0, 4096, 256).astype("<u2").tobytes()
    return dataset


def _structures(invent: Inventor, study: Dataset, images: list[Dataset]) -> Dataset:
    dataset, frame, item = Dataset(), Dataset(), Dataset()
    dataset.update(study)
    dataset.SOPClassUID, dataset.Modality, dataset.SOPInstanceUID = (
        RTSTRUCT,
        "RTSTRUCT",
        invent.uid("structures"),
    )
    dataset.SeriesInstanceUID, dataset.StructureSetLabel = invent.uid("series"), invent.name("label")
    references = []
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, image.SOPInstanceUID
        references.append(reference)
    series, again = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = images[0].SeriesInstanceUID, references
    again.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    again.ReferencedSOPInstanceUID, again.RTReferencedSeriesSequence = study.StudyInstanceUID, [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = study.FrameOfReferenceUID, [again]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    item.ROINumber, item.ROIName, item.ReferencedFrameOfReferenceUID = "1", "Liver", study.FrameOfReferenceUID
    item.ROIGenerationAlgorithm = "MANUAL"
    contour, drawn = Dataset(), Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", "3"
    contour.ContourData = ["0", "0", "0", "1.5", "0", "0", "0", "1.5", "0"]
    drawn.ReferencedROINumber, drawn.ContourSequence = "1", [contour]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [item], [drawn]
    return dataset


def corpus(seed: int, subjects: int) -> Iterator[tuple[str, Dataset, Inventor]]:
    """Yield each file's name, its dataset, and who wrote down what was planted in it."""
    random = np.random.Generator(np.random.PCG64([seed, 77]))
    for subject in range(subjects):
        person = Inventor(random)
        name, patient = f"{person.name('name')}^{person.name('name')}", person.number("ID")
        first = date(1990, 1, 1) + timedelta(days=int(random.integers(0, 9000)))
        for visit in range(2):
            study = Dataset()
            study.PatientName, study.PatientID = name, patient
            day = first + timedelta(days=visit * int(random.integers(20, 400)))
            study.StudyDate = study.SeriesDate = study.AcquisitionDate = f"{day:%Y%m%d}"
            study.StudyInstanceUID, study.SeriesInstanceUID = person.uid("study"), person.uid("series")
            study.FrameOfReferenceUID, study.AccessionNumber = person.uid("frame"), person.number("accession")
            images = []
            for number in range(3):
                invent = Inventor(random, list(person.planted))
                images.append(_image(invent, study, number))
                yield f"{subject}-{visit}-{number}.dcm", images[-1], invent
            invent = Inventor(random, list(person.planted))
            yield f"{subject}-{visit}-rs.dcm", _structures(invent, study, images), invent


def lettered(seed: int) -> Iterator[tuple[str, Dataset, Answer]]:
    """Yield files of series with a name in the upper rows of every image, and which pixels are to be hidden."""
    random = np.random.Generator(np.random.PCG64([seed, 78]))
    for number in range(LETTERED):
        person = Inventor(random)
        study = Dataset()
        study.PatientName, study.PatientID, study.StudyDate = (
            person.name("name"),
            person.number("ID"),
            "20010203",
        )
        study.StudyInstanceUID, study.SeriesInstanceUID = person.uid("study"), person.uid("series")
        study.FrameOfReferenceUID = person.uid("frame")
        words = f"{str(study.PatientName).upper()} {study.PatientID}"
        clean = tissue((6, *LETTERED_SHAPE), seed=seed + number, dtype=np.uint16)
        frames, ink = burned(clean, text=words, size=14 + 4 * number, value=INK)
        for place, frame in enumerate(frames):
            dataset = _image(person, study, place)
            dataset.Rows, dataset.Columns = LETTERED_SHAPE
            dataset.PixelData = frame.astype("<u2").tobytes()
            name = f"lettered-{number}-{place}.dcm"
            below = frame[ROWS:].astype("<u2").tobytes().hex()
            yield name, dataset, {"pixels_hidden": np.packbits(ink).tobytes().hex(), "pixels_retained": below}


def answers(name: str, dataset: Dataset, invent: Inventor) -> Iterator[Answer]:
    """Yield what has to become of a file."""
    is_image = dataset.SOPClassUID == CT

    def answer(action: str, tag: str, value: Any = None) -> Answer:
        return {"file": name, "action": action, "tag": tag, "value": value}

    yield from (answer("tag_retained", tag, value) for tag, value in RETAINED.items() if is_image)
    yield from (answer("text_retained", tag, value) for tag, value in TEXTS.items() if is_image)
    yield from (answer("text_removed", tag, str(dataset[tag].value)) for tag in REMOVED if tag in dataset)
    yield from (answer("text_notnull", tag) for tag in NOT_NULL)
    yield from (answer("date_shifted", tag, dataset[tag].value) for tag in DATES)
    yield answer("date_interval_kept", "StudyDate", [dataset.PatientID, dataset.StudyDate])
    for tag in UIDS:
        for action in ("uid_changed", "uid_consistent", "uid_injective"):
            yield answer(action, tag, str(dataset[tag].value))
    yield answer("patid_changed", "PatientID", dataset.PatientID)
    yield answer("patid_consistent", "PatientID", dataset.PatientID)
    yield from (answer("mark_present", tag, value) for tag, value in MARKS.items())
    yield from (answer("bytes_absent", planted.kind, planted.text) for planted in invent.planted)
    if is_image:
        yield answer("pixels_retained", "PixelData", dataset.PixelData.hex())
        yield answer("private_removed", "QUAVEX")
    else:
        yield answer("reference_resolves", "ReferencedSOPInstanceUID", 3)


class Scorer:
    """Judges answers by the outputs; what several files have to agree on is remembered."""

    def __init__(self, outputs: dict[str, bytes]) -> None:
        self.bytes = outputs
        self.after = {name: pydicom.dcmread(BytesIO(content)) for name, content in outputs.items()}
        self.everything = b"\n".join(outputs.values()).lower()
        self.instances = {str(d.SOPInstanceUID) for d in self.after.values()}
        self.became: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.came_from: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.shifts: defaultdict[str, set[int]] = defaultdict(set)

    def learn(self, answer: Answer) -> None:
        """Take in what a file says, before any is judged."""
        after = self.after.get(answer["file"])
        if after is None:
            return
        value = str(after.get(answer["tag"], ""))
        if answer["action"] in ("uid_consistent", "patid_consistent"):
            kind = "uid" if answer["action"][0] == "u" else "patient"
            self.became[kind, answer["value"]].add(value)
            self.came_from[kind, value].add(answer["value"])
        if answer["action"] == "date_interval_kept" and value:
            patient, day = answer["value"]
            self.shifts[patient].add((_day(day) - _day(value)).days)

    def is_right(self, answer: Answer) -> bool:
        """Whether the output does what the answer says."""
        after = self.after.get(answer["file"])
        if after is None:
            return False
        judge = getattr(self, f"_{answer['action']}")
        return bool(judge(after, answer["tag"], answer["value"]))

    def _tag_retained(self, after: Dataset, tag: str, value: Any) -> bool:
        found = after.get(tag)
        return (list(map(float, found)) if isinstance(value, list) else found) == value

    _text_retained = _tag_retained

    def _text_removed(self, after: Dataset, tag: str, value: str) -> bool:
        return value not in str(after.get(tag, ""))

    def _text_notnull(self, after: Dataset, tag: str, value: Any) -> bool:
        return bool(after.get(tag))

    def _date_shifted(self, after: Dataset, tag: str, value: str) -> bool:
        return after.get(tag) not in (None, "", value)

    def _date_interval_kept(self, after: Dataset, tag: str, value: list[str]) -> bool:
        return len(self.shifts[value[0]]) == 1

    def _uid_changed(self, after: Dataset, tag: str, value: str) -> bool:
        return str(after.get(tag, "")) not in ("", value)

    def _uid_consistent(self, after: Dataset, tag: str, value: str) -> bool:
        return len(self.became["uid", value]) == 1

    def _uid_injective(self, after: Dataset, tag: str, value: str) -> bool:
        return self.came_from["uid", str(after.get(tag, ""))] == {value}

    def _patid_changed(self, after: Dataset, tag: str, value: str) -> bool:
        return after.PatientID not in ("", value)

    def _patid_consistent(self, after: Dataset, tag: str, value: str) -> bool:
        return len(self.became["patient", value]) == len(self.came_from["patient", after.PatientID]) == 1

    def _mark_present(self, after: Dataset, tag: str, value: str) -> bool:
        found = after.get(tag)
        return (
            value in [code.CodeValue for code in found or ()] if tag.endswith("Sequence") else found == value
        )

    def _bytes_absent(self, after: Dataset, tag: str, value: str) -> bool:
        return value.lower().encode() not in self.everything

    def _pixels_retained(self, after: Dataset, tag: str, value: str) -> bool:
        # Of a file in which pixels are hidden the answer holds the rows below them.
        return after.PixelData.hex().endswith(value)

    def _pixels_hidden(self, after: Dataset, tag: str, value: str) -> bool:
        pixels = np.frombuffer(after.PixelData, "<u2")
        ink = np.unpackbits(np.frombuffer(bytes.fromhex(value), np.uint8), count=pixels.size).astype(bool)
        return bool((pixels[ink] == pixels.min()).all())

    def _private_removed(self, after: Dataset, tag: str, value: Any) -> bool:
        return not any(element.tag.is_private for element in after)

    def _reference_resolves(self, after: Dataset, tag: str, value: int) -> bool:
        found = [str(e.value) for e in after.iterall() if e.keyword == tag and str(e.value) in self.instances]
        return len(found) == value


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def write_corpus(folder: Path, seed: int, subjects: int) -> list[Answer]:
    """Write the files to FOLDER/source and the key to FOLDER/key.json; return the key."""
    key: list[Answer] = []
    (folder / "source").mkdir(parents=True)
    for name, dataset, invent in corpus(seed, subjects):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / "source" / name, enforce_file_format=True)
        key += answers(name, dataset, invent)
    for name, dataset, wanted in lettered(seed):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / "source" / name, enforce_file_format=True)
        key += [
            {"file": name, "action": action, "tag": "PixelData", "value": value}
            for action, value in wanted.items()
        ]
    (folder / "key.json").write_text(json.dumps(key))
    return key


def scored(key: list[Answer], outputs: dict[str, bytes]) -> Counter[tuple[str, bool]]:
    """Return how many answers of each action are right and wrong."""
    scorer = Scorer(outputs)
    for answer in key:
        scorer.learn(answer)
    return Counter((answer["action"], scorer.is_right(answer)) for answer in key)


def measured(folder: Path, seed: int, subjects: int) -> Counter[tuple[str, bool]]:
    """Make a corpus, de-identify it, and score what came of it."""
    answer_key, key = write_corpus(folder, seed, subjects), Key(bytes(range(32)))
    made = deidentify_sources([folder / "source"], folder / "out", key=key, told=lambda *_: None)
    outputs = {Path(ref.path).name: (folder / "out" / file).read_bytes() for ref, file in made.made}
    # A series with a name in its pixels is not among them, or it is judged as it came out.
    return scored(answer_key, {**_covered(folder / "source", key), **outputs})


def _covered(source: Path, key: Key) -> dict[str, bytes]:
    """De-identify the series with a name in their pixels as a task does whose rules have text covered."""
    made = {}
    for number in range(LETTERED):
        paths = sorted(source.glob(f"lettered-{number}-*.dcm"))
        datasets = Identified([read_dataset(path.read_bytes()) for path in paths])
        cleaned = deidentify(datasets, policy=load_policy(), key=key).value
        covered = screen_slices(cleaned, Gate(rule=MASK), is_claimed=False).value
        made |= {path.name: write_dataset(dataset) for path, dataset in zip(paths, covered, strict=True)}
    return made


def main() -> int:
    """Print the share of right answers by action, and leaks apart from losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave sources, key and output here")
    words = parser.parse_args()
    hush()
    with tempfile.TemporaryDirectory() as scratch:
        counts = measured(words.keep or Path(scratch), words.seed, words.subjects)
    for action in sorted({action for action, _ in counts}):
        right, wrong = counts[action, True], counts[action, False]
        print(f"{action:20} {100 * right / (right + wrong):6.2f} % of {right + wrong}")
    leaks = sum(count for (action, is_right), count in counts.items() if not is_right and action in LEAKS)
    wrong = sum(count for (_, is_right), count in counts.items() if not is_right)
    total = sum(counts.values())
    print(f"{100 * (total - wrong) / total:.2f} % of {total} answers; {leaks} leaks, {wrong - leaks} losses")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
