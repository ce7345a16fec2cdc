"""The door through which an expert's drawing comes in, whatever its format."""

from __future__ import annotations

from pipeline.io.labelobject import read_references
from pipeline.io.mask import companion_name, is_label_names, is_mask, read_label_names, read_mask
from pipeline.io.rtstruct import read_rtstruct
from pipeline.io.seg import read_seg, read_segment_names

__all__ = [
    "companion_name",
    "is_label_names",
    "is_mask",
    "read_label_names",
    "read_mask",
    "read_references",
    "read_rtstruct",
    "read_seg",
    "read_segment_names",
]
