"""The third gate: nothing passes that shows lettering in its pixels, unless it was covered or nobody is to look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.io import lettering
from pipeline.io.picture import png
from pipeline.model.errors import CurationError, ExposureError
from pipeline.model.exposure import SCREENED, Box, Frame, Picture, Screening
from pipeline.model.record import Json, Note, Step
from pipeline.model.rules import BurnedIn
from pipeline.model.syntax import LOSSY_SYNTAXES
from pipeline.model.volume import Volume
from pipeline.stages.convert import decoded
from pipeline.stages.screen import View, are_of_one_line, clearest, contrasted, cover, joined, views

STACKED = {"CT", "MR", "PT"}
"""Modalities whose series are looked at along the stack; of any other every image is looked at."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What is done about lettering: whether anybody looks, and what a task's rules say of a find."""

    screening: Screening = SCREENED
    rule: BurnedIn | None = None

    def require(self) -> None:
        """Refuse to begin when pictures are to be looked at and nothing is there that could."""
        if self.screening.unscreened is None:
            lettering.require()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Lettering by frame, and the pictures that show it, with a frame around each find."""

    boxes: Mapping[int, Sequence[Box]]
    pictures: Sequence[Picture]
    looked_at: int


def screen_slices(slices: Sequence[Dataset], gate: Gate, *, is_claimed: bool) -> Step[tuple[Dataset, ...]]:
    """Let de-identified images of one series through: as they are, or with lettering covered as the rules say.

    Parameters
    ----------
    slices
        Images as they came through the door, in any order.
    gate
        What is done about lettering.
    is_claimed
        Whether a header of the source says that there is lettering (BurnedInAnnotation).

    Returns
    -------
    Step
        The same datasets, or new ones where lettering was covered; the note says how it was looked for.

    Raises
    ------
    CurationError
        burned-in-text: an ExposureError with the pictures, where lettering was found.
    PrivacyError
        ocr-missing.
    """
    unscreened = _unscreened(gate, is_claimed)
    if unscreened is not None:
        return Step(tuple(slices), unscreened)
    frames, owners = [], []
    for number, dataset in enumerate(slices):
        for frame in _frames(decoded(dataset, f"image {number + 1} as given")):
            frames.append(frame)
            owners.append(number)
    each = is_claimed or not {str(dataset.get("Modality", "")) for dataset in slices} <= STACKED
    covered, note = _judged(frames, gate, each=each, is_claimed=is_claimed)
    if covered is None:
        return Step(tuple(slices), note)
    by_owner: dict[int, list[Frame]] = defaultdict(list)
    for owner, frame in zip(owners, covered, strict=True):
        by_owner[owner].append(frame)
    return Step(tuple(_rewritten(dataset, by_owner[n]) for n, dataset in enumerate(slices)), note)


def screen_volume(volume: Volume, gate: Gate) -> Step[Volume]:
    """Let a volume that is no longer DICOM through, along its last axis; see `screen_slices`."""
    unscreened = _unscreened(gate, False)
    if unscreened is not None:
        return Step(volume, unscreened)
    frames = [volume.data[:, :, k].T for k in range(volume.data.shape[2])]
    covered, note = _judged(frames, gate, each=False, is_claimed=False)
    if covered is None:
        return Step(volume, note)
    return Step(replace(volume, data=np.stack([frame.T for frame in covered], axis=2)), note)


def _unscreened(gate: Gate, is_claimed: bool) -> Note | None:
    """Return the note of a series that nobody looks at; refuse it when its header says that one must."""
    why = gate.screening.unscreened
    if why is not None and is_claimed:
        raise CurationError(
            "burned-in-text", wanted="pixels without text", found="BurnedInAnnotation says otherwise"
        )
    return None if why is None else Note("screen", {"screened": False, "why": why})


def _judged(
    frames: Sequence[Frame], gate: Gate, *, each: bool, is_claimed: bool
) -> tuple[list[Frame] | None, Note]:
    """Return covered frames, None where nothing had to be covered, and the note."""
    found = search(frames, each)
    facts: dict[str, Json] = {
        "screened": True,
        "looked_at": "every image" if each else "what does not change along the stack",
        "pictures": found.looked_at,
    }
    if not found.boxes and not is_claimed:
        return None, Note("screen", facts)
    if gate.rule is None or not found.boxes:
        raise _exposed(found, is_claimed)
    covered = cover(frames, found.boxes)
    left = search(covered, each)
    if left.boxes:
        raise _exposed(left, is_claimed)
    boxes = sum(len(ones) for ones in found.boxes.values())
    changed = sum(int((a != b).sum()) for a, b in zip(frames, covered, strict=True))
    covering: dict[str, Json] = {
        "boxes": boxes, "voxels": changed, "places": _places(found.boxes, len(frames)), "why": gate.rule.why
    }  # fmt: skip
    return covered, Note("screen", {**facts, "covered": covering})


def _places(boxes: Mapping[int, Sequence[Box]], count: int) -> list[Json]:
    """Return each box with the slices, in the order of the plan, that it was covered in."""
    slices: dict[Box, list[Json]] = defaultdict(list)
    for number, ones in sorted(boxes.items()):
        for box in ones:
            slices[box].append(number)
    return [
        {
            "rows": [box.top, box.bottom], "columns": [box.left, box.right],
            "slices": "all" if len(numbers) == count else numbers,
        }
        for box, numbers in slices.items()
    ]  # fmt: skip


def search(frames: Sequence[Frame], each: bool) -> Found:
    """Return where lettering lies in the frames of one series.

    A picture of a whole stack is read only where it holds rows of shapes like letters. Where lettering was found in
    one, the frames that show most of it are read too: what hides a part of a line in the stack is not in all of them.
    """
    shown = views(frames, each=each)
    boxes: dict[tuple[int, ...], list[Box]] = defaultdict(list)
    pictures = []
    for view in shown:
        is_stack = len(view.frames) > 1
        found = (
            [] if is_stack and not lettering.is_worth_reading(view.picture) else lettering.find(view.picture)
        )
        boxes[view.frames] += found
        if found:
            pictures.append(_framed(view, found))
    by_frame: dict[int, list[Box]] = {}
    for members, found in boxes.items():
        if found:
            by_frame |= dict.fromkeys(members, joined([*found, *_read_again(frames, members, found)]))
    return Found(by_frame, pictures, len(shown))


def _read_again(frames: Sequence[Frame], members: Sequence[int], boxes: Sequence[Box]) -> list[Box]:
    """Return what lies on the lines of the finds of a stack in its clearest frames."""
    if len(members) == 1:
        return []
    stack, places = [frames[number] for number in members], joined(boxes)
    numbers = sorted({number for place in places for number in clearest(stack, place)})
    seen = [box for number in numbers for box in lettering.find(contrasted(stack[number]))]
    return [box for box in seen if any(are_of_one_line(box, place) for place in places)]


def _framed(view: View, boxes: Sequence[Box]) -> Picture:
    picture = view.picture.copy()
    for box in boxes:
        picture[[box.top, box.bottom - 1], box.left : box.right] = 255
        picture[box.top : box.bottom, [box.left, box.right - 1]] = 255
    return picture


def _exposed(found: Found, is_claimed: bool) -> CurationError:
    claim = " and BurnedInAnnotation says so" if is_claimed else ""
    places = sum(len(ones) for ones in found.boxes.values())
    if not places:
        return CurationError(
            "burned-in-text",
            wanted="pixels without text",
            found="none, but BurnedInAnnotation says otherwise",
        )
    return ExposureError(
        "burned-in-text",
        wanted="pixels without text",
        found=f"text in {len(found.boxes)} images{claim}",
        pictures=[png(picture) for picture in found.pictures],
    )


def _frames(pixels: Frame) -> list[Frame]:
    """Return the single grey images of a decoded array: frames come first, colours last."""
    if pixels.ndim == 2:
        return [pixels]
    grey = pixels.mean(axis=-1) if pixels.shape[-1] == 3 else pixels
    return [grey] if grey.ndim == 2 else list(grey)


def _rewritten(source: Dataset, frames: Sequence[Frame]) -> Dataset:
    """Return a dataset that holds these frames, not compressed."""
    written = Dataset(dict(source.items()))
    written.file_meta = FileMetaDataset(dict(source.file_meta.items()))
    if source.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES:
        written.add_new("LossyImageCompression", "CS", "01")
    # Elements are put in place, not changed: the source holds the same ones.
    written.file_meta.add_new("TransferSyntaxUID", "UI", ExplicitVRLittleEndian)
    pixels = np.stack(frames) if len(frames) > 1 else frames[0]
    written.add_new("PixelData", "OW", pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    return written
