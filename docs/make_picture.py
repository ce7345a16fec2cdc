"""Draw docs/demo.png, one slice with its label for each task of a release: `make picture`."""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_PANEL = 200
"""Width and height of one panel in pixels."""

_GAP = 6
_CAPTION = 18
_COLUMNS = 5
_CT_WINDOW_HU = (-200, 300)
_COLOURS = ((230, 60, 60), (70, 160, 240), (250, 200, 60))
"""Red, blue and yellow for the classes 1, 2 and 3."""

_OPACITY = 0.45

Array = npt.NDArray[np.float64]


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise SystemExit(f"{name} is not a file")
    return member.read()


def _nifti(tar: tarfile.TarFile, name: str) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(_read(tar, name)))


def _grey(image: Array, is_ct: bool) -> Array:
    low, high = _CT_WINDOW_HU if is_ct else (image.min(), np.percentile(image, 99))
    return np.clip((image - low) / (high - low), 0, 1) * 255


def _coloured(grey: Array, label: Array) -> Array:
    picture = np.repeat(grey[..., None], 3, axis=2)
    for value, colour in enumerate(_COLOURS, start=1):
        inside = label == value
        picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * np.array(colour)
    return picture


def _panel(path: Path) -> Image.Image:
    """Return the axial slice with most label of a task's first training case, seen from the feet."""
    with tarfile.open(path) as tar:
        dataset = json.loads(_read(tar, f"{path.stem}/dataset.json"))
        pair = dataset["training"][0]
        parts = [_nifti(tar, f"{path.stem}/{pair[name].removeprefix('./')}") for name in ("image", "label")]
    image, label = (np.asarray(part.dataobj, dtype=np.float64) for part in parts)
    width_mm, height_mm = parts[1].header.get_zooms()[:2]
    image = image[..., 0] if image.ndim == 4 else image
    k = int(np.argmax((label > 0).sum(axis=(0, 1))))
    # RAS+: the patient's right comes first on the screen, the front on top.
    picture = _coloured(_grey(image, dataset["modality"]["0"] == "CT")[:, :, k], label[:, :, k])[::-1, ::-1]
    drawn = Image.fromarray(picture.swapaxes(0, 1).round().astype(np.uint8))
    scale = _PANEL / max(image.shape[0] * width_mm, image.shape[1] * height_mm)
    size = (round(image.shape[0] * width_mm * scale), round(image.shape[1] * height_mm * scale))
    return drawn.resize(size, Image.Resampling.NEAREST)


def draw(release: Path) -> Image.Image:
    """Return one picture of all tasks of a release."""
    tars = sorted(release.glob("Task*.tar"))
    width, height = _PANEL + _GAP, _PANEL + _GAP + _CAPTION
    sheet = Image.new("RGB", (_COLUMNS * width, -(-len(tars) // _COLUMNS) * height), "black")
    write = ImageDraw.Draw(sheet)
    for number, path in enumerate(tars):
        left, top = number % _COLUMNS * width, number // _COLUMNS * height
        write.text((left + _GAP, top + _GAP // 2), path.stem, fill="white")
        panel = _panel(path)
        sheet.paste(
            panel,
            (left + (width - panel.width) // 2, top + _CAPTION + (height - _CAPTION - panel.height) // 2),
        )
    return sheet


if __name__ == "__main__":
    draw(Path(sys.argv[1])).save(sys.argv[2], optimize=True)
