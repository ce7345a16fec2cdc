"""Write down what the phantom truly is, apart from its sources, for whoever wants to test a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.demo.geometry import Acquisition, to_ras
from pipeline.demo.labels import nifti_bytes
from pipeline.model.volume import Affine

ABOUT = (
    "What the phantom under ../source/ truly is. tasks -> subjects: `patient_id` and `patient_name` as "
    "written in the headers; `case` is the published id that the task's cases.csv gives, null where the "
    "task brings no table and numbers are dealt; `subset` is training or test where a table or a missing "
    "label decides it, else null; `turned` says that voxels and label are stored turned by 180 degrees in"
    " the axial plane against their header. channels -> `file`: the right image below this folder, RAS+, "
    "before any scaling: Hounsfield units, ADC in 1e-6 mm2/s on the ADC's own grid, MRI magnitudes as "
    "they were before the site wrote its rescale, so equal to the header's values up to one linear "
    "function; `affine` and `shape` are those of that file, `series` the Series Instance UID. `label` -> "
    "`file`: values as in the task's rules, `kind` and `source` what the site sent and where below "
    "../source/ (the archive, where it lies in one), null where no expert drew. identities.txt: every "
    "text that was planted and may not reach a release, one a line. demo.key: a workspace key for "
    "repeatable releases."
)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One subject's right answers: voxels in acquisition order as they ought to be, and facts."""

    token: str
    channels: Mapping[str, tuple[npt.NDArray[np.int32], Acquisition, str, str]]
    label: tuple[npt.NDArray[np.uint8], Acquisition] | None
    label_kind: str
    label_source: str
    facts: Mapping[str, object]


def document(task: str, truth: Truth) -> tuple[dict[str, object], dict[str, bytes]]:
    """Return a subject's entry for truth.json and its files by path below the truth folder."""
    files: dict[str, bytes] = {}
    channels: dict[str, object] = {}
    for name, (values, place, quantity, series) in truth.channels.items():
        path = f"{task}/{truth.token}/{name}.nii.gz"
        data, affine = to_ras(values.astype(np.int16), place.affine)
        files[path] = nifti_bytes(data, affine)
        channels[name] = {"file": path, "quantity": quantity, "series": series, **_placed(data, affine)}
    entry: dict[str, object] = {"token": truth.token, **truth.facts, "channels": channels, "label": None}
    if truth.label is not None:
        path = f"{task}/{truth.token}/label.nii.gz"
        data, affine = to_ras(truth.label[0], truth.label[1].affine)
        files[path] = nifti_bytes(data, affine)
        entry["label"] = {
            "file": path,
            "kind": truth.label_kind,
            "source": truth.label_source,
            **_placed(data, affine),
        }
    return entry, files


def _placed(data: npt.NDArray[np.generic], affine: Affine) -> dict[str, object]:
    return {"shape": list(data.shape), "affine": [[round(float(x), 9) + 0.0 for x in row] for row in affine]}


def identities(strings: Iterable[str]) -> bytes:
    """Return identities.txt: distinctive texts (4 characters or more), sorted, one a line, UTF-8."""
    return "".join(f"{text}\n" for text in sorted({text for text in strings if len(text) >= 4})).encode()
