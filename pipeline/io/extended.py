"""Decode JPEG extended of 12 bits with GDCM, as a plugin of pydicom, whose own refuses what GDCM has learnt to read."""

from __future__ import annotations

from typing import Any

import gdcm
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import JPEGExtended12Bit

NAME = "curate"
"""What pydicom calls this plugin."""

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.2",)}
"""pydicom asks each plugin for it."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
"""Markers of an image's start and end (ITU-T T.81 B.1.1.3); fill bytes may follow."""


def is_available(uid: str) -> bool:
    """Whether this plugin decodes a transfer syntax."""
    return uid == JPEGExtended12Bit


def register() -> None:
    """Make the plugin known to pydicom, once."""
    decoder = get_decoder(JPEGExtended12Bit)
    if NAME not in decoder.available_plugins:
        decoder.add_plugin(NAME, (__name__, "decode_frame"))


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Return a grey frame's stored numbers, little-endian, in BitsAllocated bits.

    Raises
    ------
    ValueError
        If the stream was cut, or GDCM does not decode it to as many numbers as the header says.
    """
    if not (frame.startswith(_START) and frame.rstrip(b"\0\xff").endswith(_END)):
        raise ValueError("a JPEG stream without its end")
    size = runner.rows * runner.columns * runner.samples_per_pixel * runner.bits_allocated // 8
    pixels: bytes = _image(frame, runner).GetBuffer().encode("utf-8", "surrogateescape")
    if len(pixels) != size:
        raise ValueError("another number of pixels than the header says")
    return pixels


def _image(frame: bytes, runner: DecodeRunner) -> Any:
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(frame)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel,
            runner.bits_allocated,
            runner.bits_stored,
            runner.bits_stored - 1,
            runner.pixel_representation,
        )
    )
    return image
