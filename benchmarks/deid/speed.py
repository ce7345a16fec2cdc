"""Say how many 512 x 512 CT files one process reads, de-identifies and writes in a CPU second.

python benchmarks/deid/speed.py [--files N]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from plant import COMMON, WILD, Inventor, _ct
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.io.dicom import hush, read_dataset, write_dataset
from pipeline.io.policy import load_policy
from pipeline.model.identified import Identified, Key
from pipeline.stages.deidentify import deidentify

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
    dataset.PatientID = "4711"
    dataset.add(DataElement(0x7FE00010, "OW", random.integers(0, 4096, 512 * 512).astype("<u2").tobytes()))
    files = []
    for number in range(count):
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.3.{number}", number
        stream = BytesIO()
        pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
        files.append(stream.getvalue())
    return files


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


def main() -> None:
    """Print the rate and where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
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
    if words.tool:
        tool, python = words.tool.split("=", 1)
        rate = (count - 1) / (seconds_of(tool, python, files) - seconds_of(tool, python, files[:1]))
        print(f"{tool}: {rate:.0f} files a CPU second")


if __name__ == "__main__":
    main()
