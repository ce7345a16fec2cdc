"""What one zone hands over is read as it was, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline.io import staging
from pipeline.model.errors import SourceError
from pipeline.model.volume import Annotation, Grid, Quantity, Volume

AFFINE = np.array([[0.1, 0, 0, 1 / 3], [0, 2, 0, 0], [0, 0, 3, -1e-17], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = staging.folder_of(tmp_path / "staging", "Task09_Spleen", "spleen_1")
    staging.begin(made)
    return made


def test_only_the_owner_enters_what_is_handed_over(folder: Path) -> None:
    name = staging.put(folder, b"x")
    modes = [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / name)]

    assert modes == [0o700, 0o700, 0o600]


def test_a_volume_keeps_every_bit_type_and_quantity(folder: Path) -> None:
    data = np.array([[[np.float32(0.1), -0.0, 3e38]]], dtype=np.float32)
    read = staging.get_value(folder, staging.put_value(folder, Volume(data, AFFINE, Quantity("arbitrary"))))
    assert isinstance(read, Volume)
    assert read.data.dtype == np.float32
    assert read.data.tobytes() == data.tobytes()
    assert read.affine.tobytes() == AFFINE.tobytes()
    assert read.quantity is Quantity("arbitrary")


def test_a_drawing_keeps_its_masks_in_their_order_with_codes_and_names(folder: Path) -> None:
    masks = {
        name: np.random.default_rng(n).random((3, 5, 7)) < 0.5 for n, name in enumerate(("b", "a", "value 2"))
    }
    drawn = Annotation(masks, Grid((3, 5, 7), AFFINE), {"a": ("SCT:1", "SCT:2")}, {"b": "B"})
    read = staging.get_value(folder, staging.put_value(folder, drawn))
    assert isinstance(read, Annotation)
    assert list(read.masks) == ["b", "a", "value 2"]
    assert all(np.array_equal(read.masks[name], masks[name]) for name in masks)
    assert (read.codes, read.names) == (drawn.codes, drawn.names)
    assert read.grid.shape == (3, 5, 7)


def test_instances_keep_their_elements(folder: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.PixelSpacing, dataset.PixelData = ["0.70312500", "0.7031250"], b"\x01\x02"
    dataset["PixelData"].VR = "OW"
    (read,) = staging.get_value(folder, staging.put_value(folder, (dataset,)))  # type: ignore[misc]
    assert read == dataset
    assert [str(one.original_string) for one in read.PixelSpacing] == ["0.70312500", "0.7031250"]


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")])
def test_what_is_gone_or_changed_is_refused(folder: Path, spoil: object) -> None:
    name = staging.put_document(folder, {"a": 1})
    assert staging.get_document(folder, name) == {"a": 1}
    spoil(folder / name)  # type: ignore[operator]
    with pytest.raises(SourceError, match="staging-damaged"):
        staging.get_document(folder, name)


def test_only_the_owner_enters_and_nothing_stays(folder: Path) -> None:
    staging.put(folder, b"content")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    staging.begin(folder)
    assert not list(folder.iterdir())
    staging.put(folder, b"content")
    staging.sweep(folder.parent)
    assert not list(folder.parent.iterdir())
