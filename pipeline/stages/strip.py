"""Take away from an image what lies outside of a mask that the curator gave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.model.record import Json, Note, Step
from pipeline.model.volume import Volume


def strip(volume: Volume, mask: Volume) -> Step[Volume]:
    """Set every voxel outside of a mask to 0.

    Parameters
    ----------
    volume
        A channel of arbitrary unit, shape (I, J, K).
    mask
        0 outside, on the very grid of the channel.

    Returns
    -------
    Step
        The volume with its dtype; the note counts what was kept and what became 0.
    """
    inside = mask.data > 0
    data = np.where(inside, volume.data, volume.data.dtype.type(0))
    kept = int(np.count_nonzero(inside))
    facts: dict[str, Json] = {"kept_voxels": kept, "removed_voxels": inside.size - kept, "value": 0}
    return Step(replace(volume, data=data), Note("strip", facts))
