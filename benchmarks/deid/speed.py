"""Say how many 512 x 512 CT files one process reads, de-identifies and writes in a CPU second.

    python benchmarks/deid/speed.py [--files N] [--verify] [--tool NAME=PYTHON]

`--verify` also says how many when all that was written is verified too, from files to files.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from plant import COMMON, WILD, Inventor, _ct
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from unconfined import unconfined

from pipeline.demo.anatomy import grow, paint
from pipeline.demo.cases import TASKS
from pipeline.export import deidentify_sources
from pipeline.io.dicom import read_dataset, write_dataset
from pipeline.io.policy import load_policy
from pipeline.io.quiet import hush
from pipeline.io.workspace import create
from pipeline.model.identified import Identified, Key
from pipeline.model.volume import Grid
from pipeline.stages.deidentify import deidentify
from pipeline.verify import Made, Source, verify_instances
from pipeline.verify.public import public

DRIVERS = Path(__file__).with_name("drivers.py")


def series(count: int) -> list[bytes]:
    """Make a series of files with a header like that of a hospital's scanner."""
    random = np.random.Generator(np.random.PCG64(1))
    dataset = _ct(random, ExplicitVRLittleEndian)
    invent = Inventor(random)
    for place in [place for place in COMMON if place not in WILD][:70]:
        try:
            COMMON[place](dataset, invent)
        except (TypeError, AttributeError, ValueError):
            continue
    dataset.Rows = dataset.Columns = 512
    dataset.PatientID, dataset.PatientName = "PID-4711-22", "Quavexzor^Lumtribel"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.999.4711.1", "1.2.999.4711.2"
    files = []
    for number, pixels in zip(range(count), cycle(bodies()), strict=False):
        noisy = pixels + random.integers(-20, 20, pixels.shape)
        dataset.add(DataElement(0x7FE00010, "OW", noisy.clip(0, 4095).astype("<u2").tobytes()))
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.999.4711.2.{number}", number
        stream = BytesIO()
        pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
        files.append(stream.getvalue())
    return files


def bodies() -> npt.NDArray[np.int16]:
    """Return slices of the phantom's abdomen as a scanner stores them, shape (slices, rows, columns)."""
    plan = next(plan for plan in TASKS if plan.modality == "CT")
    grid = Grid((512, 512, 20), np.diag([0.7, 0.7, 4.0, 1.0]))
    body = grow(plan.organs, grid, seed=("speed",))
    values = paint(body, grid, values=plan.channels[0].values, marker=plan.marker, seed=("speed",))
    return np.moveaxis(values, 2, 0).astype(np.int16) + np.int16(1024)


def seconds_of(tool: str, python: str, files: list[bytes]) -> float:
    """Return the CPU seconds that a tool takes for the files, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.mkdir()
        for number, content in enumerate(files):
            (source / f"{number}.dcm").write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [python, str(DRIVERS), tool, str(source), str(target)], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verified_seconds(files: list[bytes]) -> tuple[float, float]:
    """Return the CPU seconds that verifying the de-identified files takes, and all that `curate deidentify` does."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        source.mkdir()
        for number, content in enumerate(files):
            (source / f"{number}.dcm").write_bytes(content)
        workspace = create(Path(folder) / "workspace")
        load_policy()
        public()
        start = time.process_time()
        # In this process, whose CPU is counted: the command has confined children do the same.
        with unconfined():
            exported = deidentify_sources([source], out, key=workspace.key(), told=lambda *_: None)
        written = time.process_time()
        made = [Made(Source(ref.path, ref.member, ref.digest, ref.size), file) for ref, file in exported.made]
        report = verify_instances(made, out, workspace.root)
        done = time.process_time()
    assert exported.used == len(files), exported.to_json()["fates"]
    assert not report.findings, report.findings[:5]
    return done - written, done - start


def main() -> None:
    """Print the rate and where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--verify", action="store_true", help="also with the verifier")
    parser.add_argument("--tool", metavar="NAME=PYTHON")
    words = parser.parse_args()
    count = words.files
    hush()
    files, policy, key = series(count), load_policy(), Key(bytes(32))
    start = time.process_time()
    datasets = [read_dataset(content) for content in files]
    read = time.process_time()
    cleaned = deidentify(Identified(datasets), policy=policy, key=key).value
    done = time.process_time()
    size = sum(len(write_dataset(dataset)) for dataset in cleaned)
    end = time.process_time()
    parts = {"read": read - start, "deidentify": done - read, "write": end - done}
    spent = ", ".join(f"{name} {1000 * seconds / count:.2f} ms" for name, seconds in parts.items())
    print(
        f"{count / (end - start):.0f} files a CPU second, {size / 2**20 / (end - start):.0f} MiB ({spent} each)"
    )
    if words.verify:
        verified, whole = verified_seconds(files)
        print(
            f"{count / (end - start + verified):.0f} with the verifier ({1000 * verified / count:.2f} ms each)"
        )
        print(f"{count / whole:.0f} from folder to folder: indexed, de-identified, flushed to disk, verified")
    if words.tool:
        tool, python = words.tool.split("=", 1)
        rate = (count - 1) / (seconds_of(tool, python, files) - seconds_of(tool, python, files[:1]))
        print(f"{tool}: {rate:.0f} files a CPU second")


if __name__ == "__main__":
    main()
