"""What one zone hands to another: files named by their digest, read only when they still have it.

Nothing here needs, or would run, code of whoever wrote it: DICOM, arrays without objects, and JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.io.dicom import read_dataset, write_dataset
from pipeline.io.document import canonical
from pipeline.io.durable import write_bytes
from pipeline.model.errors import SourceError
from pipeline.model.record import Json
from pipeline.model.volume import Annotation, Grid, Quantity, Volume

_NUMBERS = np.float64


def folder_of(staging: Path, task: str, case: str) -> Path:
    """Return where one case is handed over; its name is the case's, which is no identity."""
    return staging / f"{task}-{case}"


def begin(folder: Path) -> None:
    """Make an empty folder for a case that only its owner may enter; what an earlier try left there goes.

    The staging folder too, where nobody made it and gave it rights of its own.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


def put(folder: Path, content: bytes) -> str:
    """Write a file named by its digest; return that."""
    name = hashlib.sha256(content).hexdigest()
    write_bytes(folder / name, content, 0o600)
    return name


def get(folder: Path, name: str) -> bytes:
    """Return the content of a file.

    Raises
    ------
    SourceError
        staging-damaged, when it is not there or not what was put.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError:
        content = None
    if content is None or hashlib.sha256(content).hexdigest() != name:
        found = "none" if content is None else "another content"
        raise SourceError("staging-damaged", wanted="what the other zone handed over", found=found)
    return content


def sweep(staging: Path) -> None:
    """Take away all that earlier runs left."""
    for folder in staging.iterdir() if staging.is_dir() else ():
        shutil.rmtree(folder, ignore_errors=True)


def drop(folder: Path) -> None:
    """Take away what was handed over for one case."""
    shutil.rmtree(folder, ignore_errors=True)


def put_document(folder: Path, document: Json) -> str:
    """Write a JSON document; return its digest."""
    return put(folder, canonical(document))


def get_document(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON document."""
    document: dict[str, Any] = json.loads(get(folder, name))
    return document


def put_value(folder: Path, value: Sequence[Dataset] | Volume | Annotation) -> dict[str, Json]:
    """Write what came through the door; return what `get_value` needs to read it."""
    if isinstance(value, Volume):
        arrays = {"data": value.data, "affine": value.affine}
        return {"kind": "volume", "file": put(folder, _packed(arrays)), "quantity": value.quantity.value}
    if isinstance(value, Annotation):
        names = list(value.masks)
        masks = {str(number): np.packbits(value.masks[name]) for number, name in enumerate(names)}
        affine = np.asarray(value.grid.affine, dtype=_NUMBERS)
        return {
            "kind": "annotation",
            "file": put(folder, _packed({"affine": affine, **masks})),
            "shape": list(value.grid.shape),
            "masks": names,
            "codes": {name: list(codes) for name, codes in value.codes.items()},
            "names": dict(value.names),
            "is_part": value.is_part,
        }
    return {"kind": "instances", "files": [put(folder, write_dataset(dataset)) for dataset in value]}


def get_value(folder: Path, told: Mapping[str, Any]) -> tuple[Dataset, ...] | Volume | Annotation:
    """Return what `put_value` wrote."""
    if told["kind"] == "instances":
        return tuple(read_dataset(get(folder, name)) for name in told["files"])
    arrays = _unpacked(get(folder, told["file"]))
    if told["kind"] == "volume":
        return Volume(arrays["data"], arrays["affine"], Quantity(told["quantity"]))
    shape = tuple(told["shape"])
    count = int(np.prod(shape))
    masks = {
        name: np.unpackbits(arrays[str(number)], count=count).astype(bool).reshape(shape)
        for number, name in enumerate(told["masks"])
    }
    codes = {name: tuple(found) for name, found in told["codes"].items()}
    return Annotation(masks, Grid(shape, arrays["affine"]), codes, told["names"], told["is_part"])


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    stream = BytesIO()
    np.savez(stream, **dict(arrays))  # type: ignore[arg-type]  # allow_pickle is for reading
    return stream.getvalue()


def _unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
