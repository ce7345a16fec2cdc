from __future__ import annotations

import headlike
import numpy as np
import pytest

from pipeline.io.template import is_ready, read_template
from pipeline.model.errors import CurationError
from pipeline.model.exposure import Template
from pipeline.model.volume import Volume
from pipeline.stages.deface import deface

pytestmark = pytest.mark.skipif(not is_ready(), reason="the extra `deface` is not installed")


@pytest.fixture(scope="module")
def template() -> Template:
    """Every second voxel: enough, and faster."""
    full = read_template()
    return Template(*(_halved(part) for part in (full.head, full.stays)))


def _halved(volume: Volume) -> Volume:
    return Volume(volume.data[::2, ::2, ::2], volume.affine @ np.diag([2.0, 2, 2, 1]))


@pytest.fixture(scope="module")
def moved(template: Template) -> Volume:
    """The template's head, turned, shifted and stretched."""
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.14), -np.sin(0.14)], [np.sin(0.14), np.cos(0.14)]]
    turn[:3, 3] = (4, -9, 6)
    return Volume(template.head.data, turn @ np.diag([1.05, 0.97, 1.02, 1.0]) @ template.head.affine)


def test_what_the_mask_covers_goes_wherever_the_head_lies(moved: Volume, template: Template) -> None:
    second = Volume(moved.data * 2 + 100, moved.affine)
    step = deface([moved, second], template)
    gone = step.value[0].data != moved.data
    wanted = (template.stays.data < 0.5) & (moved.data != moved.data.min())

    assert 2 * (gone & wanted).sum() / (gone.sum() + wanted.sum()) > 0.97
    assert (step.value[0].data[gone] == moved.data.min()).all()
    assert np.array_equal(step.value[1].data != second.data, gone)
    assert int(str(step.note.facts["removed_voxels"])) >= gone.sum()


def test_defacing_is_the_same_on_every_run(moved: Volume, template: Template) -> None:
    first, again = (deface([moved], template).value[0].data for _ in range(2))

    assert np.array_equal(first, again)


def test_what_is_no_head_is_refused(template: Template) -> None:
    with pytest.raises(CurationError) as refused:
        deface([headlike.cut_out()], template)

    assert refused.value.code == "deface-failed"
