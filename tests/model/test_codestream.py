"""Frames keep what a decoder needs, to the pixel, and nothing else."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import Encoder, get_encoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from pipeline.model.codestream import plain_frame

JPEG_BASELINE, JPEG_LS, JPEG_2000, RLE = (
    f"1.2.840.10008.1.2.{number}" for number in ("4.50", "4.80", "4.90", "5")
)
NAME = b"Quendel^Zora"
PIXELS: npt.NDArray[np.uint16] = (np.random.default_rng(7).integers(0, 4000, (33, 47)) & 0xFF0).astype(
    np.uint16
)


def encoded(encoder: Encoder) -> bytes:
    return encoder.encode(
        PIXELS.tobytes(),
        rows=PIXELS.shape[0],
        columns=PIXELS.shape[1],
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=12,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )


def jpeg_file() -> bytes:
    stream = io.BytesIO()
    Image.fromarray((PIXELS >> 4).astype(np.uint8)).save(
        stream, "JPEG", comment=NAME, exif=b"Exif\0\0" + NAME
    )
    return stream.getvalue()


FRAMES = {
    JPEG_LS: encoded(get_encoder(JPEGLSLossless)),
    JPEG_2000: encoded(get_encoder(JPEG2000Lossless)),
    RLE: encoded(get_encoder(RLELossless)),
}


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def test_comments_and_application_segments_of_jpeg_go_and_the_picture_stays() -> None:
    before = jpeg_file()
    after = plain_frame(before, JPEG_BASELINE, 33 * 47)
    assert after is not None
    assert NAME in before
    assert NAME not in after
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(before))), np.asarray(Image.open(io.BytesIO(after)))
    )


def test_a_frame_without_anything_else_stays_as_it_is() -> None:
    assert plain_frame(FRAMES[JPEG_LS], JPEG_LS, PIXELS.size) == FRAMES[JPEG_LS].rstrip(b"\0")


def test_rle_decodes_to_the_same_pixels() -> None:
    plain = plain_frame(FRAMES[RLE] + NAME, RLE, PIXELS.size)
    assert plain is not None
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(RLE)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *PIXELS.shape, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = 16, 12, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = encapsulate([plain])
    assert np.array_equal(dataset.pixel_array, PIXELS)


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LS, JPEG_2000, RLE])
def test_what_follows_the_end_goes(syntax: str) -> None:
    frame = FRAMES.get(syntax) or jpeg_file()
    plain = plain_frame(frame, syntax, PIXELS.size)
    assert plain is not None
    assert plain_frame(frame + NAME + b"\xff\xd9", syntax, PIXELS.size) == plain


def test_a_comment_in_jpeg_ls_goes() -> None:
    frame = FRAMES[JPEG_LS]
    noted = frame[:2] + segment(0xFE, NAME) + segment(0xE7, NAME) + frame[2:]
    assert plain_frame(noted, JPEG_LS, PIXELS.size) == plain_frame(frame, JPEG_LS, PIXELS.size)


def test_comments_of_jpeg_2000_go_from_the_main_header_and_are_blank_in_tile_parts() -> None:
    frame = FRAMES[JPEG_2000]
    tile = frame.index(b"\xff\x90")
    length = struct.unpack_from(">I", frame, tile + 6)[0]
    note = segment(0x64, b"\0\x01" + NAME)
    longer = struct.pack(">I", length + len(note)) if length else b"\0\0\0\0"
    noted = frame[:tile] + note + frame[tile : tile + 6] + longer + frame[tile + 10 : tile + 12] + note
    noted += frame[tile + 12 :]
    plain = plain_frame(noted, JPEG_2000, PIXELS.size)
    assert plain is not None
    assert NAME not in plain
    # The decoder spreads 12 bits over 16.
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(plain))), PIXELS << 4)


def test_bytes_between_rle_segments_go() -> None:
    frame = FRAMES[RLE]
    count, first, second, *_ = struct.unpack_from("<16I", frame)
    assert count == 2
    moved = struct.pack("<16I", 2, first, second + len(NAME), *[0] * 13)
    noted = moved + frame[64:second] + NAME + frame[second:]
    assert plain_frame(noted, RLE, PIXELS.size) == plain_frame(frame, RLE, PIXELS.size)


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LS, JPEG_2000, RLE])
def test_a_damaged_frame_is_none(syntax: str) -> None:
    frame = FRAMES.get(syntax) or jpeg_file()
    assert plain_frame(frame[: len(frame) // 2], syntax, PIXELS.size) is None
    assert plain_frame(b"", syntax, PIXELS.size) is None
    assert plain_frame(NAME * 20, syntax, PIXELS.size) is None


def test_a_syntax_that_is_not_known_is_none() -> None:
    assert plain_frame(FRAMES[JPEG_LS], "1.2.840.10008.1.2.4.110", PIXELS.size) is None
