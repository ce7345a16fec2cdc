from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.io.picture import png


def test_a_picture_reads_back_as_it_was() -> None:
    picture = np.arange(60, dtype=np.uint8).reshape(6, 10)

    assert np.array_equal(np.asarray(Image.open(BytesIO(png(picture)))), picture)


def test_a_picture_holds_no_text_and_no_time() -> None:
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & {
        png(np.zeros((2, 2), np.uint8))[place : place + 4] for place in range(60)
    }
