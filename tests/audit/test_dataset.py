"""A dataset.json that contradicts the manifest is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from spoiling import Lies, assert_found, in_brain, in_spleen, lists

LIES: Lies = {
    "a case that is not listed": (in_spleen(lists("training", lambda x: x.pop())), {"stage": "package"}),
    "a case listed twice": (in_spleen(lists("test", lambda x: x.append(x[0]))), {"stage": "package"}),
    "a training case among the test": (
        in_spleen(lists("test", lambda x: x.append("./imagesTs/spleen_2.nii.gz"))), {"stage": "package"}),
    "a wrong count": (in_spleen(lambda t: t.dataset.update(numTraining=9)), {"stage": "package"}),
    "another modality": (in_spleen(lambda t: t.dataset.update(modality={"0": "MRI"})), {"stage": "package"}),
    "another label name": (
        in_spleen(lambda t: t.dataset.update(labels={"0": "background", "1": "liver"})), {"stage": "package"}),
    "modalities in another order": (
        in_brain(lambda t: t.dataset.update(modality={"0": "T1w", "1": "FLAIR"})), {"stage": "package"}),
    "a wrong tensorImageSize": (in_spleen(lambda t: t.dataset.update(tensorImageSize="4D")), {}),
    "another licence": (in_spleen(lambda t: t.dataset.update(licence="none")), {"found": "none"}),
    "relase": (in_spleen(lambda t: t.dataset.update(relase=t.dataset.pop("release"))), {"stage": "package"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
