"""Write a grey picture as PNG."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from pipeline.model.exposure import Picture


def png(picture: Picture) -> bytes:
    """Return a picture, shape (rows, columns), as PNG without text and time."""
    with BytesIO() as stream:
        Image.fromarray(picture).save(stream, "PNG")
        return stream.getvalue()
