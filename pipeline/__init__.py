"""Labelled image releases from clinical DICOM, by rules, with proof of every voxel."""

__version__ = "0.1.0"
