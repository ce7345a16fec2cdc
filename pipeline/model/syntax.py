"""Which decoder reads which transfer syntax."""

from __future__ import annotations

from typing import Final

DECODERS: Final = {
    "1.2.840.10008.1.2.4.50": "gdcm",
    "1.2.840.10008.1.2.4.51": "curate",
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Transfer syntax UID -> pydicom's name of the one decoder that reads it, so that what else is installed never
decides a voxel. Native syntaxes need none. `curate` is io.extended, which hands JPEG extended to GDCM."""

LOSSY_SYNTAXES: Final = frozenset(
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
)
"""JPEG baseline and extended, and near-lossless JPEG-LS: the values are not those the scanner made."""

PERHAPS_LOSSY_SYNTAXES: Final = frozenset({"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"})
"""JPEG 2000 and HTJ2K, of which only the codestream tells whether values were lost."""

DECODING_ERRORS: Final = (
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
)
"""What pydicom and its decoders raise for pixel data that do not fit their description."""
