"""What happens where a head may show its face: the case stops, unless the task's rules say why not."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.io import template
from pipeline.model.errors import CurationError
from pipeline.model.record import Json, Note, Step
from pipeline.model.rules import Face
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.deface import deface
from pipeline.stages.face import Part, Sight, look_for_face

_FACES = (Sight.HEAD, Sight.FACELESS)
_NO_PICTURE = {Quantity.ACTIVITY, Quantity.SUV}
"""PET shows no skin."""


def require_template(rule: Face | None) -> None:
    """Refuse to begin when faces are to be taken away and nothing is there to do it with."""
    if rule is not None and rule.treatment == "deface":
        template.require()


def may_show_face(volume: Volume, part: Part, rule: Face | None) -> bool:
    """Whether a volume in RAS+ shows a head by itself, and the rules do not say that its face may stay."""
    is_kept = rule is not None and rule.treatment == "keep"
    if is_kept or volume.quantity in _NO_PICTURE:
        return False
    return look_for_face(volume, part).value in _FACES


def guard_faces(
    channels: Mapping[str, Volume], parts: Mapping[str, Part], rule: Face | None
) -> Step[dict[str, Volume]]:
    """Let the channels of a case through, defaced where the rules say so.

    Parameters
    ----------
    channels
        Volumes on one RAS+ grid, the reference first.
    parts
        What each channel's header says of the part of the body.
    rule
        What the task's rules say of faces.

    Returns
    -------
    Step
        The channels; the note says what was seen in each and what was done about it.

    Raises
    ------
    CurationError
        face-visible, deface-failed.
    UsageError
        deface-missing.
    """
    seen = {
        name: look_for_face(volume, parts[name])
        for name, volume in channels.items()
        if volume.quantity not in _NO_PICTURE
    }
    facts: dict[str, Json] = {"channels": {name: step.note.facts for name, step in seen.items()}}
    shown = [name for name, step in seen.items() if step.value in _FACES]
    if not shown:
        return Step(dict(channels), Note("face", facts))
    if rule is None:
        raise _visible(shown[0], "a head")
    said: dict[str, Json] = {"treatment": rule.treatment, "why": rule.why}
    if rule.treatment == "removed upstream":
        _check_removed({name: step.note.facts for name, step in seen.items() if step.value is Sight.HEAD})
    if rule.treatment == "deface":
        names = list(channels)
        step = deface([channels[name] for name in names], template.read_template())
        return Step(
            dict(zip(names, step.value, strict=True)), Note("face", {**facts, **said, **step.note.facts})
        )
    return Step(dict(channels), Note("face", {**facts, **said}))


def _check_removed(heads: Mapping[str, Mapping[str, Json]]) -> None:
    """Refuse a face that is there, where the voxels can tell; where only a header says head, the rules are believed."""
    for name, facts in heads.items():
        if facts["by"] == "voxels":
            raise _visible(name, "a head with what may be its face")


def _visible(channel: str, found: str) -> CurationError:
    return CurationError(
        "face-visible", wanted="no face, or rules that say what is done about it", found=found, where=channel
    )
