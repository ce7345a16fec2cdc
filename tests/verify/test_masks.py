from __future__ import annotations

import gzip
import io

import nibabel
import numpy as np

from pipeline.verify.masks import header_texts


def nifti() -> bytes:
    image = nibabel.Nifti1Image(np.full((30, 30, 30), 0x4142, np.int16), np.eye(4))
    image.header["descrip"], image.header["aux_file"] = b"Quavexzor", b"Lumtribel"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Pyldrufen"))
    return bytes(image.to_bytes())


def test_a_nifti_header_says_its_texts_and_no_voxels() -> None:
    found = header_texts(nifti())
    assert all(name in found for name in (b"Quavexzor", b"Lumtribel", b"Pyldrufen"))
    assert b"BABA" not in found


def test_the_name_in_a_gzip_header_is_a_text() -> None:
    stream = io.BytesIO()
    with gzip.GzipFile("Zorlumvex.nii", "wb", fileobj=stream) as packed:
        packed.write(nifti())
    found = header_texts(stream.getvalue())
    assert b"Zorlumvex" in found
    assert b"Quavexzor" in found


def test_a_text_header_ends_where_voxels_begin() -> None:
    assert header_texts(b"NRRD0004\ncontent: Quavexzor\n\nABCDEFGH") == b"NRRD0004\ncontent: Quavexzor"
