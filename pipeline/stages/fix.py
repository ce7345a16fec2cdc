"""Correct a header that is known to be wrong."""

from __future__ import annotations

from dataclasses import replace

from pipeline.model.errors import GeometryError
from pipeline.model.record import Note, Step
from pipeline.model.volume import Volume, axis_codes


def half_turn(volume: Volume, *, why: str, evidence: str) -> Step[Volume]:
    """Turn the voxels by 180 degrees within the axial plane and leave the affine as it is.

    Image and label of a case are turned alike; what the header said of the turned voxels was wrong.

    Parameters
    ----------
    volume
        RAS+ image or label, shape (I, J, K).
    why, evidence
        The rule's reason and where its evidence lies; both go into the note.

    Returns
    -------
    Step
        The voxels with i and j reversed, at the affine and dtype that came in.

    Raises
    ------
    GeometryError
        If the volume is not RAS+: then i and j do not span the axial plane.
    """
    codes = axis_codes(volume.affine)
    if codes != "RAS":
        raise GeometryError("not-ras", wanted="axes RAS", found=f"axes {codes}", where="fix")
    # Two reversed axes are a rotation; one would be a mirror and swap left and right.
    turned = replace(volume, data=volume.data[::-1, ::-1, :])
    return Step(
        turned, Note("fix", {"half_turn": "axial", "reversed": ["i", "j"], "why": why, "evidence": evidence})
    )
