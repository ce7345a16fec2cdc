"""Say what share of planted text the search of pixels covers, and how often it stops an image without any.

python benchmarks/deid/ocr.py [--strings N] [--free N] [--seed N] [--real FOLDER]

Stacks look like CT and MR (the phantom's bodies on a clinical matrix). Four strings are burned into each, 9 to 22
pixels high, bright, dark or of low contrast (a tenth to a fifth of the picture's range above or below what lies
behind); into every slice, or bright into a few. A string counts as covered when 95 % of its ink lies in boxes, and as
found when any of it does: that stops the case. Images without text are phantom stacks, and each stack of FOLDER.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from pipeline.demo.anatomy import glow, grow, paint
from pipeline.demo.cases import TASKS
from pipeline.io import lettering
from pipeline.io.quiet import hush
from pipeline.model.errors import CurationError
from pipeline.model.volume import Grid
from pipeline.pixelgate import search
from pipeline.stages.convert import decoded
from pipeline.stages.screen import views
from pipeline.stages.unfold import unfold

SIDE, SLICES, MM = 256, 10, 1.4
FAMILIES = ("MUELLER", "O'NEILL", "Kowalska", "de Vries", "TANAKA", "Garcia Lopez", "SMITH", "Nguyen")
GIVEN = ("ANNA", "John", "Mary", "PETER", "Li", "Jose", "Ingrid", "OMAR")
FORMS = ("{family}^{given}", "{family}, {given}", "{day}", "MRN {number}", "ID:{number}", "ACC {number}",
         "Dr. {family}",
         "DOB {day}", "{given} {family} {age}Y", "St. {given} Hospital")  # fmt: skip
MODES = ("bright", "dark", "low contrast", "bright, few slices")

Frames = npt.NDArray[Any]


@dataclass(frozen=True)
class Planted:
    """One string: how high, how it was drawn, and where its ink is."""

    height: int
    mode: str
    ink: npt.NDArray[np.bool_]


def text(random: np.random.Generator) -> str:
    """Return what a burned-in line says: a made-up person's name, number or date."""
    day = f"{random.integers(1930, 2010)}-{random.integers(1, 13):02d}-{random.integers(1, 29):02d}"
    return str(random.choice(FORMS)).format(
        family=random.choice(FAMILIES), given=random.choice(GIVEN), day=day,
        number=random.integers(10**5, 10**8), age=random.integers(18, 99),
    )  # fmt: skip


def tissue(number: int) -> Frames:
    """Return a stack that looks like CT or MR, shape (slices, rows, columns)."""
    plan = TASKS[number % len(TASKS)]
    grid = Grid((SIDE, SIDE, SLICES), np.diag([MM, MM, 4.0, 1.0]))
    seed = ("ocr", number)
    body = grow(plan.organs, grid, seed=seed)
    draw = paint if plan.modality == "CT" else glow
    return np.moveaxis(
        draw(body, grid, values=plan.channels[0].values, marker=plan.marker, seed=seed), 2, 0
    ).astype(np.int16)


def plant(frames: Frames, random: np.random.Generator) -> list[Planted]:
    """Burn four strings into the frames, one in each band of rows; return them."""
    low, high = np.percentile(frames, [0.5, 99.5])
    planted = []
    for band in range(4):
        height, mode = int(random.integers(9, 23)), MODES[int(random.integers(len(MODES)))]
        font = ImageFont.load_default(height)
        words = text(random)
        _, _, right, bottom = font.getbbox(words)
        while True:
            at = (
                int(random.integers(2, max(SIDE - int(right) - 2, 3))),
                int(band * SIDE // 4 + random.integers(2, 30)),
            )
            region = frames[:, at[1] : at[1] + int(bottom), at[0] : at[0] + int(right)]
            value = colour(mode, float(np.median(region)), (low, high), random)
            # What nobody can see is no text: most of what lies behind differs by a tenth of the range.
            if (np.abs(region - value) > 0.08 * (high - low)).mean() > 0.8:
                break
            mode = MODES[int(random.integers(len(MODES)))]
        canvas = Image.new("L", (SIDE, SIDE), 0)
        ImageDraw.Draw(canvas).text(at, words, fill=255, font=font)
        soft = np.asarray(canvas) / 255
        first = int(random.integers(0, SLICES - 2))
        only = slice(first, first + 2) if mode == "bright, few slices" else slice(None)
        frames[only] = np.rint(frames[only] * (1 - soft) + value * soft)
        planted.append(Planted(height, mode, soft > 0.5))
    return planted


def colour(mode: str, behind: float, ends: tuple[float, float], random: np.random.Generator) -> float:
    """Return the value that letters have."""
    low, high = ends
    if mode == "dark":
        return low
    if mode == "low contrast":
        step = float(random.uniform(0.1, 0.2)) * (high - low)
        return behind + step if behind < (low + high) / 2 else behind - step
    return high + 0.2 * (high - low)


def covered(frames: Frames) -> npt.NDArray[np.bool_]:
    """Return which pixels the search puts into boxes."""
    held = np.zeros(frames.shape[1:], dtype=bool)
    for boxes in search(list(frames), each=False).boxes.values():
        for box in boxes:
            held[box.top : box.bottom, box.left : box.right] = True
    return held


def spared(frames: Frames) -> tuple[int, int]:
    """Return how many pictures of the stack are not read, since no row of shapes is in them, and how many there are."""
    pictures = [view.picture for view in views(list(frames), each=False)]
    return sum(not lettering.is_worth_reading(picture) for picture in pictures), len(pictures)


def real_stacks(folder: Path) -> Iterator[Frames]:
    """Yield the stacks of equal frames below a folder, one a series, mosaics and grids unfolded as commands do."""
    series: dict[tuple[str, tuple[int, ...]], list[Frames]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            dataset = dcmread(path)
            if dataset.get("Modality") not in ("CT", "MR", "PT") or "PixelData" not in dataset:
                continue
            is_enhanced = "PerFrameFunctionalGroupsSequence" in dataset
            pixels = [decoded(one, "") for one in ([dataset] if is_enhanced else unfold(dataset))]
        except (InvalidDicomError, CurationError):
            continue
        for frame in (frame for array in pixels for frame in (array if array.ndim == 3 else [array])):
            series.setdefault((str(dataset.SeriesInstanceUID), frame.shape), []).append(frame)
    yield from (np.stack(frames) for frames in series.values() if len(frames) > 2)


def main() -> None:
    """Print shares covered and found, false stops, and CPU a series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=320)
    parser.add_argument("--free", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", type=Path, default=Path(__file__).parents[3] / "shared/data/real")
    words = parser.parse_args()
    hush()
    random = np.random.Generator(np.random.PCG64(words.seed))
    tally: Counter[tuple[str, str]] = Counter()
    spent, series = 0.0, 0
    for number in range(-(-words.strings // 4)):
        frames = tissue(number)
        planted = plant(frames, random)
        begun = time.process_time()
        held = covered(frames)
        spent, series = spent + time.process_time() - begun, series + 1
        for one in planted:
            share = held[one.ink].mean()
            for group in ("all", one.mode, f"{one.height:2d} px"):
                tally[group, "planted"] += 1
                tally[group, "covered"] += int(share >= 0.95)
                tally[group, "found"] += int(share > 0)
    for group in sorted({group for group, _ in tally}):
        count = tally[group, "planted"]
        print(f"{group:20} {count:4} planted, {tally[group, 'covered'] / count:7.2%} covered, "
              f"{tally[group, 'found'] / count:7.2%} found")  # fmt: skip
    real = list(real_stacks(words.real)) if words.real.is_dir() else []
    free = [*(tissue(10_000 + n) for n in range(max(words.free - len(real), 0))), *real][
        : max(words.free, len(real))
    ]
    begun = time.process_time()
    stops = sum(bool(covered(frames).any()) for frames in free)
    took = (time.process_time() - begun) / len(free)
    unread, pictures = map(sum, zip(*map(spared, free), strict=True))
    print(f"false stops: {stops} of {len(free)} stacks without text, {len(real)} of them real")
    print(f"{unread} of their {pictures} pictures hold no row of shapes and are not read")
    print(f"CPU: {spent / series:.2f} s a series with text of {SIDE} x {SIDE}, {took:.2f} s a stack without")


if __name__ == "__main__":
    main()
