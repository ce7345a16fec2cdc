from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from lettered import NAME, burned, tissue
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from pipeline.io import lettering
from pipeline.model.errors import CurationError, ExposureError, PrivacyError
from pipeline.model.exposure import Screening
from pipeline.model.rules import BurnedIn
from pipeline.model.volume import Volume
from pipeline.pixelgate import Gate, screen_slices, screen_volume
from pipeline.stages.convert import decoded

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")

MASK = Gate(rule=BurnedIn(treatment="mask", why="The site burns its clock into a corner."))
UNSCREENED = Gate(Screening("Somebody looked at all of them before."))


def images(frames: npt.NDArray[np.int16], modality: str = "CT") -> list[Dataset]:
    made = []
    for frame in frames:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.Modality = CTImageStorage, modality
        dataset.Rows, dataset.Columns = frame.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.PixelData = frame.astype("<i2").tobytes()
        made.append(dataset)
    return made


def refused(call: Callable[[], object]) -> CurationError:
    with pytest.raises(CurationError) as caught:
        call()
    return caught.value


def test_a_stack_without_text_passes_as_it_is() -> None:
    slices = images(tissue())
    step = screen_slices(slices, Gate(), is_claimed=False)

    assert all(a is b for a, b in zip(step.value, slices, strict=True))
    assert step.note.facts == {
        "screened": True, "looked_at": "what does not change along the stack", "pictures": 3
    }  # fmt: skip


def test_text_in_all_slices_stops_with_pictures_and_without_its_words() -> None:
    frames, _ = burned(tissue())
    error = refused(lambda: screen_slices(images(frames), Gate(), is_claimed=False))

    assert isinstance(error, ExposureError)
    assert error.code == "burned-in-text"
    assert error.pictures[0].startswith(b"\x89PNG")
    assert not any(word in str(error) + repr(error.args) for word in NAME.split("^"))


def test_bright_text_in_a_few_slices_stops() -> None:
    frames, _ = burned(tissue(), only=slice(4, 6))

    assert refused(lambda: screen_slices(images(frames), Gate(), is_claimed=False)).code == "burned-in-text"


def test_a_stack_without_rows_of_shapes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "find", lambda picture: pytest.fail("read"))

    assert screen_slices(images(tissue()), Gate(), is_claimed=False).note.facts["screened"]


def test_letters_that_something_hides_in_the_stack_are_covered_where_they_show() -> None:
    frames, ink = burned(tissue(), only=slice(4, 6))
    frames[7:, 4:30, 60:100] = 1500
    step = screen_slices(images(frames), MASK, is_claimed=False)
    covered = np.stack([decoded(dataset, "") for dataset in step.value])

    assert (covered[4:6, ink] == frames[4:6].min(axis=(1, 2))[:, np.newaxis]).mean() > 0.97


def test_the_rules_cover_text_and_the_note_counts_what_changed() -> None:
    frames, ink = burned(tissue())
    step = screen_slices(images(frames), MASK, is_claimed=False)
    covered = np.stack([decoded(dataset, "") for dataset in step.value])

    facts = step.note.facts["covered"]
    assert isinstance(facts, dict)
    assert facts["voxels"] == int((covered != frames).sum())
    assert (covered[:, ink] == frames.min(axis=(1, 2))[:, np.newaxis]).mean() > 0.97
    assert np.array_equal(covered[:, 40:], frames[:, 40:])


def test_a_claim_of_text_has_every_image_looked_at() -> None:
    frames, _ = burned(tissue(), only=slice(4, 5))
    step = screen_slices(images(frames), MASK, is_claimed=True)

    changed = [
        not np.array_equal(decoded(dataset, ""), frame)
        for dataset, frame in zip(step.value, frames, strict=True)
    ]
    assert changed == [number == 4 for number in range(12)]
    assert step.note.facts["looked_at"] == "every image"


def test_a_claim_of_text_that_is_not_found_stops_whatever_the_rules_say() -> None:
    error = refused(lambda: screen_slices(images(tissue()), MASK, is_claimed=True))

    assert (error.code, "BurnedInAnnotation" in error.found) == ("burned-in-text", True)


def test_of_other_modalities_every_image_is_looked_at() -> None:
    step = screen_slices(images(tissue()[:4], modality="US"), Gate(), is_claimed=False)

    assert step.note.facts["looked_at"] == "every image"


def test_where_nobody_looks_the_note_says_why_and_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "find", lambda picture: pytest.fail("looked"))
    frames, _ = burned(tissue())
    step = screen_slices(images(frames), UNSCREENED, is_claimed=False)

    assert step.note.facts == {"screened": False, "why": "Somebody looked at all of them before."}


def test_a_claim_of_text_stops_where_nobody_looks() -> None:
    assert (
        refused(lambda: screen_slices(images(tissue()), UNSCREENED, is_claimed=True)).code == "burned-in-text"
    )


def test_without_the_extra_a_run_does_not_begin_unless_nobody_is_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lettering, "is_ready", lambda: False)

    with pytest.raises(PrivacyError):
        Gate().require()
    UNSCREENED.require()


def test_a_compressed_image_is_covered_too() -> None:
    frames, _ = burned(tissue())
    slices = images(frames)
    for dataset in slices:
        dataset.compress(RLELossless, generate_instance_uid=False)
    step = screen_slices(slices, MASK, is_claimed=False)

    assert {dataset.file_meta.TransferSyntaxUID for dataset in step.value} == {ExplicitVRLittleEndian}
    assert {dataset.file_meta.TransferSyntaxUID for dataset in slices} == {RLELossless}
    assert np.array_equal(decoded(step.value[0], "")[40:], frames[0, 40:])


def test_what_was_lossy_stays_marked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, _ = burned(tissue())
    monkeypatch.setattr("pipeline.pixelgate.decoded", lambda dataset, where: frames[0])
    slices = images(frames)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    step = screen_slices(slices, MASK, is_claimed=True)

    assert {dataset.LossyImageCompression for dataset in step.value} == {"01"}


def test_a_volume_that_is_no_longer_dicom_is_searched_along_its_last_axis() -> None:
    frames, _ = burned(tissue())
    volume = Volume(np.moveaxis(frames, 0, 2).transpose(1, 0, 2), np.eye(4))

    assert refused(lambda: screen_volume(volume, Gate())).code == "burned-in-text"
    covered = screen_volume(volume, MASK).value
    assert np.array_equal(covered.data[:, 40:], volume.data[:, 40:])
    assert not np.array_equal(covered.data, volume.data)
