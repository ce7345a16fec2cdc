"""Read the head template and face mask that lie inside the pydeface wheel; its own code is not run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np

from pipeline.model.errors import UsageError
from pipeline.model.exposure import Template
from pipeline.model.volume import Volume

_HEAD, _STAYS = "mean_reg2mean.nii.gz", "facemask.nii.gz"


def is_ready() -> bool:
    """Whether the extra that holds the template is installed."""
    return find_spec("pydeface") is not None


def require() -> None:
    """Refuse to go on without the extra.

    Raises
    ------
    UsageError
        deface-missing.
    """
    if not is_ready():
        raise UsageError("deface-missing", wanted="the extra `deface` (pydeface)", found="none")


def read_template() -> Template:
    """Return the template, RAS+.

    Raises
    ------
    UsageError
        deface-missing.
    """
    require()
    found = find_spec("pydeface")
    folder = Path(found.origin if found and found.origin else "").parent / "data"
    return Template(_volume(folder / _HEAD), _volume(folder / _STAYS))


def _volume(path: Path) -> Volume:
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)
