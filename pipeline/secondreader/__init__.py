"""Read source files once more, with libraries and code that made nothing of a release, and compare.

How a channel is compared. SimpleITK reads each file of classic images on its own; GDCM reads those of many frames,
with the place and rescale that each frame's functional groups give. Both know nothing of pydicom, which made the
release, and of the rooms. What they read is brought, by what the manifest's notes say was done, to what should be in
the release: by a linear scale with the noted cut-offs, by resampling onto the reference's grid. Axes need no note: both
affines say which voxel of one is which of the other.

Where both readers are known not to do what DICOM says, a `Reason` says so, and dcm2niix is asked, where it is installed
(extra `dcm2niix`). A difference for which there is no reason is a finding.
"""

from __future__ import annotations

from pipeline.secondreader.comparing import Difference, Opinion, Reason, Released, compare

__all__ = ["Difference", "Opinion", "Reason", "Released", "compare"]
