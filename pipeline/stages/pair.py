"""Find the files that belong to a mask: its voxels where its header stands alone, the names of its values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.model.series import Kind, SourceFile, SourceRef


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside a mask and is read with it."""

    data: SourceFile | None = None
    """The voxels of a header that stands alone (.mhd, .nhdr, .hdr)."""
    names: SourceFile | None = None
    """An ITK-SNAP label description, which names the values."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Those that are there."""
        return tuple(file for file in (self.data, self.names) if file is not None)


def pair(files: Iterable[SourceFile]) -> dict[SourceRef, Beside]:
    """Return mask -> what belongs to it, for masks to which something does.

    Only files of the mask's own folder count. The voxels are in the one file that the header names
    (`data_file` in its facts); a name that differs only by case counts where no other does. A label description
    (`describes_labels`) belongs to the mask whose name it has, but for the ending; the only description of a
    folder that is named like no mask belongs to each mask there.

    Parameters
    ----------
    files
        All files of an index; they are gone through twice, and of most of them nothing is kept.
    """
    folders: dict[_Folder, list[SourceFile]] = defaultdict(list)
    described: dict[_Folder, list[SourceFile]] = defaultdict(list)
    for file in files:
        if file.kind is Kind.MASK:
            folders[_folder(file)].append(file)
        elif file.facts.get("describes_labels"):
            described[_folder(file)].append(file)
    data = _named_data(files, folders)
    found: dict[SourceRef, Beside] = {}
    for folder, masks in folders.items():
        named = _descriptions(masks, described[folder]) if folder in described else {}
        for mask in masks:
            beside = Beside(_data(mask, data.get(folder, ())), named.get(mask.ref))
            if beside.files:
                found[mask.ref] = beside
    return found


_Folder = tuple[str, str]


def _named_data(
    files: Iterable[SourceFile], folders: Mapping[_Folder, Sequence[SourceFile]]
) -> Mapping[_Folder, Sequence[SourceFile]]:
    """Return folder -> files there whose name a mask's header says, but for its case."""
    wanted = {
        (folder, mask.text("data_file").casefold())
        for folder, masks in folders.items()
        for mask in masks
        if mask.text("data_file")
    }
    data: dict[_Folder, list[SourceFile]] = defaultdict(list)
    for file in files if wanted else ():
        if (_folder(file), _name(file).casefold()) in wanted:
            data[_folder(file)].append(file)
    return data


def _folder(file: SourceFile) -> _Folder:
    """Return the place that only files side by side share: a folder, on disk or in one archive."""
    if file.ref.member is None:
        return "", file.ref.path.rpartition("/")[0]
    return file.ref.path, file.ref.member.rpartition("/")[0]


def _name(file: SourceFile) -> str:
    return (file.ref.member or file.ref.path).rpartition("/")[2]


def _data(mask: SourceFile, together: Sequence[SourceFile]) -> SourceFile | None:
    wanted = mask.text("data_file")
    exact = [file for file in together if wanted and _name(file) == wanted]
    alike = [file for file in together if wanted and _name(file).casefold() == wanted.casefold()]
    fitting = exact or alike
    return fitting[0] if len(fitting) == 1 and fitting[0].ref != mask.ref else None


def _descriptions(
    masks: Sequence[SourceFile], described: Sequence[SourceFile]
) -> Mapping[SourceRef, SourceFile]:
    """Return mask -> its label description."""
    stems = {_stem(_name(file)): file for file in described}
    own = {mask.ref: stems[_stem(_name(mask))] for mask in masks if _stem(_name(mask)) in stems}
    others = [file for file in described if file not in own.values()]
    if len(others) == 1:
        own = {mask.ref: others[0] for mask in masks} | own
    return own


def _stem(name: str) -> str:
    """Return a name without its ending; `.nii.gz` is one."""
    return name.casefold().removesuffix(".gz").rpartition(".")[0]
