"""Image files that are no longer DICOM (NIfTI, NRRD, MetaImage) to voxels with their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pipeline.io import metaimage, niftimask, nrrd
from pipeline.io.mask import READERS, suffix_of
from pipeline.io.raster import unplaced, unsupported
from pipeline.model.errors import CurationError, LabelError, SourceError
from pipeline.model.record import Note, Step
from pipeline.model.series import Facts
from pipeline.model.volume import Volume, axis_codes, spans_space

FORMATS = {
    "nifti": (".nii.gz", ".nii", ".hdr"),
    "nrrd": (".nrrd", ".nhdr"),
    "mha": (".mha", ".mhd"),
}
"""What rules call a format -> the endings of its files."""

_OUTLINES = {"nifti": niftimask.outline, "nrrd": nrrd.outline, "mha": metaimage.outline}
_PLANES = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}


def describe(blob: bytes, name: str) -> Facts:
    """Return what an index keeps of a file's header: format, volumes, sizes, spacing, plane; no text of it.

    Sizes are named as if k counted slices: Columns along i, Rows along j. Of a header that is refused, `damage` is
    the code.
    """
    suffix = suffix_of(name)
    source = next(source for source, endings in FORMATS.items() if suffix in endings)
    try:
        return {"source": source, **_outlined(blob, source)}
    except CurationError as error:
        return {"source": source, "volumes": 1, "damage": error.code}


def _outlined(blob: bytes, source: str) -> Facts:
    with _of_an_image():
        found = _OUTLINES[source](blob)
        if not spans_space(found.affine):
            raise unplaced(source, "three axes that span a volume")
    i, j, k = (float(length) for length in np.linalg.norm(found.affine[:3, :3], axis=0))
    return {
        "volumes": found.volumes,
        "Columns": found.shape[0],
        "Rows": found.shape[1],
        "slices": found.shape[2],
        "PixelSpacing": [j, i],
        "slice_step_mm": k,
        "plane": _PLANES[axis_codes(found.affine)[2]],
    }


def read_image(blob: bytes, name: str, *, companion: bytes | None = None, volume: int = 0) -> Step[Volume]:
    """Return one volume of an image file as it is stored, on the file's own grid in RAS+ mm.

    Parameters
    ----------
    blob
        The file; for a header that stands alone, `companion` holds the voxels.
    name
        The file's name, or only its ending, which says the format.
    volume
        Which volume, from 0, of a file that holds several.

    Returns
    -------
    Step
        Voxels (I, J, K) with the file's scaling applied. The note, of the door, counts the texts that did not
        come through: a volume holds none.

    Raises
    ------
    CurationError
        image-unsupported, unreadable, truncated or missing-geometry.
    """
    suffix = suffix_of(name)
    with _of_an_image():
        if suffix is None:
            raise unsupported("image", f"one of {', '.join(READERS)}", "another ending")
        raster = READERS[suffix](blob, companion)
        if not spans_space(raster.affine):
            raise unplaced(raster.source, "three axes that span a volume")
        if volume >= len(raster.layers):
            raise unsupported(
                raster.source, f"a volume {volume}, counted from 0", f"{len(raster.layers)} of them"
            )
    facts = {
        "source": raster.source,
        "objects": 1 if companion is None else 2,
        "texts_removed": raster.texts,
        "volume": volume,
        "volumes": len(raster.layers),
    }
    return Step(Volume(raster.layers[volume], raster.affine), Note("deidentify", facts))


@contextmanager
def _of_an_image() -> Iterator[None]:
    """Say of an image what the readers, which know masks, refuse."""
    try:
        yield
    except CurationError as error:
        kind, code = (
            (SourceError, "image-unsupported")
            if error.code.startswith("label-")
            else (type(error), error.code)
        )
        kind = SourceError if kind is LabelError else kind
        where = error.where.replace(" mask", " image")
        raise kind(code, wanted=error.wanted, found=error.found, where=where) from None
