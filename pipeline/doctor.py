"""Say whether this machine and this workspace can do the work, and what to do where not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.io import lettering
from pipeline.io.compressor import compressor
from pipeline.io.policy import load_policy
from pipeline.io.ruleset import load_rules
from pipeline.io.workspace import Workspace, open_workspace
from pipeline.model.errors import FAULTS, CurationError
from pipeline.model.record import Json

CANARY = "sha256:ab7d9edd74dabb2cd28c815eca2b80801e9c5435cc58657f6f295b1f80536028"
"""What libdeflate at our level makes of a fixed text: another digest means other bytes in every release."""

_PACKAGES = (
    "pydicom",
    "SimpleITK",
    "nibabel",
    "numpy",
    "dask",
    "distributed",
    "click",
    "highdicom",
    "deflate",
)
_SYNTAXES = (
    ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless,
    JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K,
)  # fmt: skip
_ENOUGH_DISK = 5 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do if that is not well."""

    what: str
    found: str
    is_well: bool
    advice: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the finding as one JSON object."""
        return {"what": self.what, "found": self.found, "well": self.is_well, "advice": self.advice}


def doctor(workspace: Path | None) -> list[Finding]:
    """Look at Python, packages, decoders, compressor, shipped rules, disk, and a workspace if one is named."""
    findings = [
        Finding("python", platform.python_version(), True),
        Finding("processors", str(os.cpu_count()), True),
    ]
    findings += [_package(name) for name in _PACKAGES]
    findings += [_decoder(uid.name, get_decoder(uid).is_available) for uid in _SYNTAXES]
    findings.append(_reader())
    canary = str(compressor()["canary"])
    findings.append(
        Finding(
            "compressor",
            canary,
            canary == CANARY,
            "Install the pinned deflate: other bytes are not comparable.",
        )
    )
    findings.append(_works("shipped rules", lambda: f"{len(load_rules(None))} tasks"))
    findings.append(_works("de-identification policy", lambda: load_policy(None).digest))
    free = shutil.disk_usage(_standing(workspace or Path.cwd())).free
    findings.append(Finding("disk", f"{free // 2**30} GiB free", free > _ENOUGH_DISK, "Free some space."))
    if workspace is not None:
        findings.append(_works("workspace", lambda: "key " + open_workspace(workspace).key().fingerprint))
        findings.append(_works("settings", lambda: open_workspace(workspace).settings().format))
        findings.append(_works("burned-in text", lambda: _screening(open_workspace(workspace))))
    return findings


def _screening(workspace: Workspace) -> str:
    why = workspace.settings().screening.unscreened
    return "searched for" if why is None else f"not searched for: {why}"


def _standing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if place.exists())


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name), True)
    except PackageNotFoundError:
        return Finding(name, "missing", False, "Run `make install`.")


def _reader() -> Finding:
    return Finding(
        "reader of burned-in text",
        "available" if lettering.is_ready() else "missing",
        lettering.is_ready(),
        FAULTS["ocr-missing"].advice,
    )


def _decoder(name: str, is_available: bool) -> Finding:
    return Finding(
        f"decoder {name}", "available" if is_available else "missing", is_available, "Run `make install`."
    )


def _works(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look(), True)
    except CurationError as error:
        return Finding(what, str(error), False, error.fault.advice)
