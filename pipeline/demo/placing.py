"""Decide where the files of a subject lie: folder names, nesting and archives as each site exports them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import deflate
from pydicom import Dataset

from pipeline.demo.header import Study
from pipeline.demo.objects import IMPLEMENTATION, encode

_LABEL_NAMES = {
    "nifti": "segmentation.nii.gz",
    "nifti-ras": "mask_RAS.nii.gz",
    "nrrd": "Segmentation.seg.nrrd",
}
_ARCHIVES = {("Task06_Lung", 1): "zip", ("Task10_Colon", 2): "tar.gz"}
"""Which subjects come packed."""

_TIME = (2011, 3, 5, 7, 9, 12)
"""A made-up time of every archive member."""


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """Files of a subject by path below the task's folder, and the datasets that are in them."""

    files: dict[str, bytes]
    datasets: list[Dataset]

    def __add__(self, other: Sent) -> Sent:
        """Return both together."""
        return Sent(self.files | other.files, self.datasets + other.datasets)


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the files of one subject lie below the task's folder."""

    study: Study
    index: int

    @property
    def folder(self) -> str:
        """The subject's folder."""
        return self.study.identity.folder

    @property
    def archive(self) -> str | None:
        """`zip` or `tar.gz` when the subject comes packed."""
        return _ARCHIVES.get((str(self.study.words[1]), self.index))

    def series(self, handed: Sequence[Dataset], number: int) -> dict[str, bytes]:
        """Return the files of one series, in the order in which the archive hands them out."""
        site = self.study.site
        return {
            f"{self.folder}/{self._name(dataset, number, place)}": encode(dataset, site.syntax, site.pacs)
            for place, dataset in enumerate(handed, start=1)
        }

    def _name(self, dataset: Dataset, number: int, place: int) -> str:
        layout = self.study.site.layout
        if layout == "flat":
            # Every series in one folder, numbered through.
            return f"IM{number:02d}{place:04d}"
        if layout == "nested":
            return f"DICOM/PA0/ST1/SE{number}/IM{place}"
        if layout == "uid":
            return f"{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"
        visit = f"{self.study.identity.study_date} {self.study.region.title()}"
        return f"{visit}/Serie {number:02d}/IMG-{number:04d}-{place:05d}.dcm"

    def drawing(self, content: bytes, kind: str) -> dict[str, bytes]:
        """Return the expert's file: beside the images, or in a folder `labels` of the subject."""
        if kind in _LABEL_NAMES:
            folder = f"{self.folder}/labels" if self.index % 2 else self.folder
            return {f"{folder}/{_LABEL_NAMES[kind]}": content}
        return {f"{self.folder}/{'RTSS' if kind == 'rtstruct' else 'SEG'}{self.index:03d}": content}

    def delivered(self, files: dict[str, bytes]) -> str:
        """Return where below the task's folder the one file of `files` reaches us, the archive if packed."""
        if not files:
            return ""
        return f"{self.folder}.{self.archive}" if self.archive else next(iter(files))

    def packed(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """Return the files as the site sends them: loose, or in one archive."""
        if self.archive == "zip":
            return {f"{self.folder}.zip": _zipped(files)}
        if self.archive == "tar.gz":
            return {f"{self.folder}.tar.gz": _tarred(files)}
        return files

    def strings(self) -> frozenset[str]:
        """Return the texts in names of files and folders that identify somebody."""
        site = self.study.site
        places = (site.institution, site.address, site.department, site.serial, site.pacs, site.station)
        return frozenset((self.folder, IMPLEMENTATION, *places))


def _zipped(files: dict[str, bytes]) -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, _TIME)
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, files[name])
        return stream.getvalue()


def _tarred(files: dict[str, bytes]) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in sorted(files):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.uname = len(files[name]), 1299308952, "radiology"
                archive.addfile(info, io.BytesIO(files[name]))
        return bytes(deflate.gzip_compress(stream.getvalue(), 6))
