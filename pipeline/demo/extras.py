"""Add what a hospital sends along and no release may use: localizers, reformats, screens, reports, rubbish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from pipeline.demo.anatomy import chance
from pipeline.demo.geometry import centred, cosines
from pipeline.demo.objects import Series, Study, slices
from pipeline.demo.placing import Placing
from pipeline.demo.protocols import parameters

_OVERVIEW = {"ge": "3-Plane Loc", "siemens": "localizer", "philips": "Survey", "canon": "Locator"}


def of(
    study: Study, index: int, reference: Series, images: Sequence[Dataset], placing: Placing
) -> tuple[dict[str, bytes], list[Dataset]]:
    """Return the extra files of a subject by path, and their datasets."""
    files: dict[str, bytes] = {}
    datasets = _localizer(study, reference)
    files |= placing.series(datasets, 1)
    return files, datasets


def _localizer(study: Study, reference: Series) -> list[Dataset]:
    """Return an overview: one slice in each of the three planes, in one series."""
    values = chance("localizer", *study.words).integers(0, 900, (3, 24, 20))
    found = []
    for number, plane in enumerate(("axial", "sagittal", "coronal")):
        place = centred(
            (24, 20, 1),
            cosines(plane, reference.acquisition.position),
            spacing_mm=(3.5, 3.5, 6.0),
            centre=reference.acquisition.origin,
            position=reference.acquisition.position,
        )
        series = Series(
            name="localizer",
            number=1,
            description=_OVERVIEW[study.site.vendor],
            image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
            acquisition=place,
            stored=np.asarray(values[number])[:, :, None].astype(np.int32),
            instance_numbers=(number + 1,),
            is_signed=study.site.is_signed,
            rescale=("1", "-1024") if study.modality == "CT" else None,
            elements=parameters("liver-ct" if study.modality == "CT" else "t1", study.site.vendor),
        )
        found += slices(study, series)
    return found
