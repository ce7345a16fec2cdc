"""Mask files to annotations: a label map's values, their names where the file gives them, its grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.io import metaimage, nrrd
from pipeline.io.metaimage import read_metaimage
from pipeline.io.niftimask import read_nifti
from pipeline.io.nrrd import read_nrrd
from pipeline.io.raster import Raster, unplaced, unreadable, unsupported
from pipeline.model.errors import LabelError
from pipeline.model.record import Json, Note, Step
from pipeline.model.volume import Annotation, Grid, LabelMap, distinct_names, spans_space, value_name

READERS = {
    ".nii.gz": read_nifti,
    ".nii": read_nifti,
    ".hdr": read_nifti,
    ".nrrd": read_nrrd,
    ".nhdr": read_nrrd,
    ".mha": read_metaimage,
    ".mhd": read_metaimage,
}

MOST_VALUES = 1024
"""Different values of a label map; what has more is an image."""

_SEGMENT_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer|Tags)")
_TERMINOLOGY = re.compile(r"TerminologyEntry:[^~|]*~[^~|]*~([^~^|]+)\^([^~^|]+)\^")
_SLICER_PART = "Segmentation_ReferenceImageExtentOffset"
"""With it 3D Slicer says that a file may hold a part of the image's grid; origin and directions place the part."""
_LABEL_HEAD = 400
_LABEL_NAMES = re.compile(rb"[#\s]*ITK-SnAP Label Description File", re.IGNORECASE)
_LABEL_LINE = re.compile(r'\s*(\d+)(?:\s+[\d.]+){6}\s+"(.*)"\s*')


@dataclass(frozen=True, slots=True)
class _Named:
    """A name that a file gives to one value of one layer."""

    name: str
    layer: int
    value: int
    codes: tuple[str, ...] = ()


def is_mask(name: str) -> bool:
    """Whether a file of this name is read as a mask: .nii, .nii.gz, .hdr, .nrrd, .nhdr, .mha or .mhd."""
    return suffix_of(name) is not None


def suffix_of(name: str) -> str | None:
    """Return the ending by which a file of this name is read, None for any other."""
    return next((suffix for suffix in READERS if name.lower().endswith(suffix)), None)


def companion_name(blob: bytes, name: str) -> str | None:
    """Return the name of the file beside it that holds the voxels, None when the file itself does.

    Raises
    ------
    LabelError
        label-unsupported if the header names anything but one file in its own folder.
    """
    suffix = suffix_of(name)
    if suffix == ".hdr":
        return f"{name[:-4]}.img"
    naming = {".nhdr": nrrd, ".nrrd": nrrd, ".mhd": metaimage, ".mha": metaimage}.get(suffix or "")
    companion = naming.data_file(blob) if naming else None
    if companion is not None and (
        re.search(r"[/\\:%\s]", companion) or companion.upper() in {"", ".", "..", "LIST"}
    ):
        raise unsupported("mask", "one data file in the header's own folder")
    return companion


def read_mask(
    blob: bytes, name: str, *, companion: bytes | None = None, names: Mapping[int, str] | None = None
) -> Step[Annotation]:
    """Return the masks of a label map, one for each value but 0, on the file's own grid in RAS+ mm.

    Parameters
    ----------
    blob
        The file; for a header that stands alone, `companion` is the file that `companion_name` names.
    name
        The file's name, or only its ending, which says the format.
    names
        Names of values, as `read_label_names` returns them; they win over those in the file. Values that no
        voxel has do not count, nor does ITK-SNAP's own `Label N`, which nobody gave.

    Returns
    -------
    Step
        Masks (I, J, K) called as the file calls its segments (3D Slicer's Segment0_Name, ...), with their
        type codes, or `value N`.

    Raises
    ------
    CurationError
        label-not-whole for values that are not whole numbers; label-unsupported for more than MOST_VALUES of
        them; missing-geometry; and whatever the format's reader refuses.
    """
    suffix = suffix_of(name)
    if suffix is None:
        raise unsupported("mask", f"one of {', '.join(READERS)}", "another ending")
    raster = READERS[suffix](blob, companion)
    if raster.source == "NIfTI" and len(raster.layers) > 1:
        # Nothing in NIfTI says what each volume of a mask would mean.
        raise unsupported("NIfTI", "three axes in space and no other")
    layers = _as_whole(raster)
    grid = _grid(raster)
    annotation = _annotation(layers, grid, _named(raster, layers, names))
    annotation = replace(annotation, is_part=_SLICER_PART in raster.fields)
    facts: dict[str, Json] = {
        "source": raster.source,
        "dtype": str(raster.layers.dtype.newbyteorder("=")),
        "layers": len(layers),
        "masks": len(annotation.masks),
    }
    return Step(annotation, Note("annotation", facts))


def _as_whole(raster: Raster) -> npt.NDArray[np.integer[Any]]:
    """Return the voxels as whole numbers; floats must be whole already."""
    layers = raster.layers
    if layers.dtype.kind != "f":
        return layers
    with np.errstate(invalid="ignore"):
        whole = layers.astype(np.int32)
    # NaN, infinity, fractions and what does not fit all come back as another number.
    if not np.array_equal(whole, layers):
        raise LabelError(
            "label-not-whole", wanted="whole numbers", found="others", where=f"{raster.source} mask"
        )
    return whole


def _grid(raster: Raster) -> Grid:
    """Return the grid; refuse axes that span no space."""
    shape = raster.layers.shape[1:]
    if not spans_space(raster.affine):
        raise unplaced(raster.source, "three axes that span a volume")
    return Grid((shape[0], shape[1], shape[2]), raster.affine)


def _named(
    raster: Raster, layers: npt.NDArray[np.integer[Any]], names: Mapping[int, str] | None
) -> tuple[list[_Named], list[int]]:
    """Return what has a name, and the values that have none."""
    named = _segments(raster.fields, len(layers))
    if names is not None:
        present = set(_values(layers[0], raster.source))
        named = [
            _Named(name, 0, value)
            for value, name in sorted(names.items())
            # ITK-SNAP lists every value that it offers, and calls those that nobody named `Label N`.
            if value in present and name not in {"", f"Label {value}"}
        ]
    unnamed = []
    for layer, voxels in enumerate(layers):
        known = {segment.value for segment in named if segment.layer == layer}
        unnamed += [value for value in _values(voxels, raster.source) if value not in known]
    if unnamed and len(layers) > 1:
        raise LabelError(
            "label-value-undeclared",
            wanted="a segment for every value of every layer",
            found=f"{len(unnamed)} values without one",
            where=f"{raster.source} mask",
        )
    return named, unnamed


def _values(voxels: npt.NDArray[np.integer[Any]], source: str) -> list[int]:
    """Return the values but 0, sorted; refuse an image that is none of labels."""
    found: set[int] = set()
    for k in range(voxels.shape[2]):
        found.update(np.unique(voxels[:, :, k]).tolist())
        if len(found - {0}) > MOST_VALUES:
            raise unsupported(source, f"at most {MOST_VALUES} values", "more")
    return sorted(found - {0})


def _segments(fields: Mapping[str, str], layers: int) -> list[_Named]:
    """Return the segments that 3D Slicer describes in a header.

    Before Slicer 4.11 every segment was a layer of its own, with the value 1, and neither was written.
    """
    described: dict[int, dict[str, str]] = {}
    for key, text in fields.items():
        match = _SEGMENT_FIELD.fullmatch(key)
        if match:
            described.setdefault(int(match[1]), {})[match[2]] = text
    try:
        named = [
            _Named(
                name=segment.get("Name", ""),
                layer=int(segment.get("Layer", number if layers > 1 else 0)),
                value=int(segment.get("LabelValue", 1)),
                codes=tuple(
                    f"{scheme}:{value}" for scheme, value in _TERMINOLOGY.findall(segment.get("Tags", ""))
                ),
            )
            for number, segment in sorted(described.items())
        ]
    except ValueError:
        raise unreadable("Slicer", "whole numbers as LabelValue and Layer") from None
    places = {(segment.layer, segment.value) for segment in named}
    if len(places) != len(named) or any(not 0 <= layer < layers or value == 0 for layer, value in places):
        raise LabelError(
            "label-inconsistent",
            wanted="segments with a layer and a value of their own",
            found="others",
            where="Slicer mask",
        )
    return named


def _annotation(
    layers: npt.NDArray[np.integer[Any]], grid: Grid, found: tuple[Sequence[_Named], Sequence[int]]
) -> Annotation:
    named, unnamed = found
    keys = distinct_names([segment.name for segment in named])
    called = list(zip(keys, named, strict=True))
    places = {key: (segment.layer, segment.value) for key, segment in called}
    places |= {value_name(value): (0, value) for value in unnamed}
    return Annotation(
        LabelMap(layers, places),
        grid,
        codes={key: segment.codes for key, segment in called if segment.codes},
        names={key: segment.name for key, segment in called if segment.name != key},
    )


def is_label_names(content: bytes) -> bool:
    """Whether a file is an ITK-SNAP label description, by the comment that ITK-SNAP begins it with."""
    return _LABEL_NAMES.match(content[:_LABEL_HEAD]) is not None


def read_label_names(text: str) -> dict[int, str]:
    """Return value -> name of an ITK-SNAP label description file.

    Its lines are `IDX R G B A VIS MSH "NAME"`; lines that start with # are comments.

    Raises
    ------
    LabelError
        unreadable if a line is neither, or gives a value twice.
    """
    names: dict[int, str] = {}
    for place, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LABEL_LINE.fullmatch(line)
        if match is None or int(match[1]) in names:
            raise unreadable("ITK-SNAP", f'IDX R G B A VIS MSH "NAME", each once, in line {place}')
        names[int(match[1])] = match[2]
    return names
