"""What the house asks of its code and no linter checks; each import contract is broken once and seen."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.model.errors import FAULTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"
TESTS = ROOT / "tests"
SOURCES = tuple(sorted(path for path in PACKAGE.rglob("*.py") if "_shipped" not in path.parts))
CONTRACTS = tuple(
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
)

LONGEST_BODY = 40
LARGEST_MEDIAN = 10
MOST_PARAMETERS = 6

MIRRORLESS_TESTS = {
    "test_kills.py": "a small size of benchmarks/cluster/kills.py",
    "test_hosts.py": "clusters of several hosts: a batch system, two zones, a network that is cut",
    "test_acceptance.py": "the consumers that a release must work for",
    "test_deid_benchmarks.py": "the small sizes of benchmarks/deid",
    "test_damaged_series.py": "two real series, damaged slice by slice",
    "test_odd_series.py": "series of odd kinds, from files to volumes",
    "test_changed_pixels.py": "covered text and removed faces, from DICOM to the audit",
    "test_faces_in_zones.py": "a head that is made in two zones, defaced or stripped",
    "test_deterministic.py": "the same bytes for any number of workers, time zone and order",
    "test_files_no_longer_dicom.py": "images that come as NIfTI, NRRD or MetaImage, from the source to the audit",
    "test_scanners.py": "made-up series of other scanners, from files to volumes",
    "test_hostile.py": "files made to do harm, from the first look to the last page",
    "test_house.py": "this file",
    "test_moving.py": "registration, atlas and brain mask, from the source to the audit",
    "test_real_studies.py": "a real prostate study as Task05, and what is wrong with its twins",
    "test_second_opinion.py": "what dcmqi and plastimatch make of the same objects",
    "test_readme.py": "the commands that README.md shows",
    "test_shipped_rules.py": "the ten rules files",
    "test_truth.py": "the demo release against the phantom's truth",
    "manifests": "the documents and commands below manifests/",
}
"""Tests that mirror no module, and what they are about."""

UNTESTED_MODULES = {
    "model/errors.py",
    "model/exposure.py",
    "model/identified.py",
    "model/record.py",
    "model/series.py",
    "model/volume.py",
}
"""Values without a test file of their own: every test of a room uses them."""

OPENS_IDENTITY = {"stages/deidentify.py", "case.py", "export.py"}
"""The only modules that may `reveal` an `Identified` value."""

COMMAND_LINE = "cli.py"


def is_command_line(path: Path) -> bool:
    """Say whether a module may print, and its functions take what click hands them."""
    return inside(path) == COMMAND_LINE or inside(path).startswith("commands/")


LAST_DOORS = {
    COMMAND_LINE: "a run ends with an exit code",
    "case.py": "a bug in one case is an outcome of it",
}
"""The only modules that may catch everything, once each, and why."""

PLANTS = (
    ("Imports go down, and every module has a floor", "model/volume.py", "import pipeline.io.nifti"),
    ("Imports go down, and every module has a floor", "model/series.py", "import pipeline.stages"),
    ("Imports go down, and every module has a floor", "io/nifti.py", "import pipeline.stages"),
    ("Imports go down, and every module has a floor", "stages/__init__.py", "import pipeline.io.document"),
    ("Imports go down, and every module has a floor", "case.py", "import pipeline.cluster"),
    ("Imports go down, and every module has a floor", "cluster/__init__.py", "import pipeline.release"),
    ("Imports go down, and every module has a floor", "release.py", "import pipeline.audit"),
    ("Imports go down, and every module has a floor", "index.py", "import pipeline.plan"),
    ("Imports go down, and every module has a floor", "helpers.py", ""),
    ("Only cluster knows Dask", "case.py", "import dask"),
    ("Only cluster knows Dask", "release.py", "from distributed import Client"),
    ("Only commands know click", "release.py", "import click"),
    ("Audit shares no code with what it audits", "audit/__init__.py", "from pipeline.io import nifti"),
    ("Audit shares no code with what it audits", "audit/tar.py", "import pipeline.case"),
    ("Audit shares no code with what it audits", "audit/tar.py", "import nibabel"),
    ("The second reader shares no code with the first", "secondreader/reading.py", "import pydicom"),
    (
        "The second reader shares no code with the first",
        "secondreader/niix.py",
        "import pipeline.model.volume",
    ),
    ("Imports go down, and every module has a floor", "secondreader/reading.py", "import pipeline.io.dicom"),
    (
        "Imports go down, and every module has a floor",
        "secondreader/niix.py",
        "import pipeline.stages.convert",
    ),
    (
        "The verifier shares no code with what it verifies",
        "verify/search.py",
        "from pipeline.io import policy",
    ),
    (
        "The phantom shares no code with the rooms that are judged by it",
        "demo/__init__.py",
        "import pipeline.stages.scale",
    ),
    ("Rooms know no file, clock, chance or environment", "stages/scale.py", "import time"),
    ("Rooms know no file, clock, chance or environment", "stages/scale.py", "from os import environ"),
    ("Rooms know no file, clock, chance or environment", "stages/scale.py", "import random"),
    ("Rooms do not know their neighbours", "stages/scale.py", "from pipeline.stages import orient"),
    ("Values know no format and no file", "model/volume.py", "import pydicom"),
    ("Values know no format and no file", "model/volume.py", "from pathlib import Path"),
)
"""Contract, file to spoil, line to add."""


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def broken_contracts(folder: Path) -> set[str]:
    """Run the linter on the package below a folder and return the names of the contracts that do not hold."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)(?: \(.*\))?$", said.stdout, flags=re.MULTILINE))
    assert set(verdicts) == set(CONTRACTS), said.stdout + said.stderr
    assert (said.returncode == 0) == ("BROKEN" not in verdicts.values())
    return {name for name, verdict in verdicts.items() if verdict == "BROKEN"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "_shipped"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_keep_every_contract(copy: Path) -> None:
    assert broken_contracts(copy) == set()


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS)
def test_a_planted_import_breaks_its_contract(copy: Path, contract: str, file: str, line: str) -> None:
    with (copy / "pipeline" / file).open("a") as module:
        module.write(f"\n{line}\n")

    assert contract in broken_contracts(copy)


def test_every_contract_has_a_planted_import() -> None:
    assert {contract for contract, _, _ in PLANTS} == set(CONTRACTS)


# Functions


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: Function) -> list[str]:
    takes = function.args
    names = [arg.arg for arg in (*takes.posonlyargs, *takes.args, *takes.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def test_no_function_body_is_longer_than_forty_lines() -> None:
    long = {
        f"{inside(path)}:{function.lineno} {function.name}": body_lines(function)
        for path in SOURCES
        for function in functions(path)
        if body_lines(function) > LONGEST_BODY
    }

    assert long == {}


def test_half_of_the_function_bodies_are_shorter_than_ten_lines() -> None:
    lengths = [body_lines(function) for path in SOURCES for function in functions(path)]

    assert statistics.median(lengths) < LARGEST_MEDIAN


def test_no_function_takes_more_than_six_parameters() -> None:
    wide = {
        f"{inside(path)}:{function.lineno} {function.name}": len(parameters(function))
        for path in SOURCES
        if not is_command_line(path)
        for function in functions(path)
        if len(parameters(function)) > MOST_PARAMETERS
    }

    assert wide == {}


def test_no_function_swallows_keywords() -> None:
    greedy = [
        f"{inside(path)}:{function.lineno} {function.name}"
        for path in SOURCES
        if not is_command_line(path)
        for function in functions(path)
        if function.args.kwarg is not None
    ]

    assert greedy == []


# Docstrings


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    tree = ast.parse(path.read_text())
    yield "module", tree
    for node in tree.body:
        if not isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) or node.name.startswith("_"):
            continue
        yield node.name, node
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                yield f"{node.name}.{part.name}", part


def test_everything_public_has_a_docstring() -> None:
    bare = [
        f"{inside(path)}: {name}"
        for path in SOURCES
        for name, node in public_definitions(path)
        if not ast.get_docstring(node)  # type: ignore[arg-type]  # public_definitions yields what can have one
    ]

    assert bare == []


# What only some may do


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def callers(pattern: str) -> set[str]:
    """Return the modules that call something whose written name matches the whole pattern."""
    return {inside(path) for path in SOURCES for name, _ in calls(path) if re.fullmatch(pattern, name)}


def test_only_the_command_line_prints() -> None:
    printing = callers(r"print|sys\.std(out|err)\.write")

    assert {module for module in printing if not is_command_line(PACKAGE / module)} == set()


def test_only_the_door_opens_identified_values() -> None:
    assert callers(r".*\.reveal") <= OPENS_IDENTITY


def test_rooms_take_only_pure_paths_from_pathlib() -> None:
    taken = {
        alias.name
        for path in SOURCES
        if inside(path).startswith("stages/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if "pathlib" in (alias.name, getattr(node, "module", None))
    }

    assert taken <= {"PurePosixPath"}


def test_rooms_and_values_never_ask_the_clock_or_chance() -> None:
    pattern = r"(.*\.)?(now|utcnow|today|default_rng|RandomState|getenv|open)|(np|numpy)\.random\..*"

    assert {name for name in callers(pattern) if name.startswith(("stages/", "model/"))} == set()


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def broad_handlers(path: Path) -> list[ast.ExceptHandler]:
    """Return the handlers that catch everything and do not raise it again."""
    handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
    broad = re.compile(r"\b(Base)?Exception\b")
    return [
        h for h in handlers if (h.type is None or broad.search(ast.unparse(h.type))) and not raises_again(h)
    ]


def test_only_the_last_door_and_the_end_of_a_case_catch_everything() -> None:
    broad = {inside(path): len(broad_handlers(path)) for path in SOURCES if broad_handlers(path)}

    assert broad == {COMMAND_LINE: 1, "case.py": 1}


# Faults


def raised_codes(path: Path) -> Iterator[str]:
    for name, call in calls(path):
        is_raised = re.fullmatch(r"(.*\.)?[A-Z]\w*Error", name) and any(
            part.arg == "wanted" for part in call.keywords
        )
        if is_raised and call.args and isinstance(call.args[0], ast.Constant):
            yield str(call.args[0].value)


def words(path: Path) -> set[str]:
    """Return every string that a module writes out."""
    tree = ast.parse(path.read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_raised_code_is_a_fault() -> None:
    assert {code for path in SOURCES for code in raised_codes(path)} <= set(FAULTS)


def test_every_fault_can_happen() -> None:
    used = set().union(*(words(path) for path in SOURCES if inside(path) != "model/errors.py"))

    assert set(FAULTS) - used == set()


# Tests mirror the package


def has_code(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(path.read_text()).body)


def mirror(path: Path) -> Path:
    """Return the test file of a module: commands through their words, a package's own code by its name."""
    place = path.relative_to(PACKAGE)
    if is_command_line(path):
        return TESTS / "test_cli.py"
    name = place.parent.name if place.name == "__init__.py" else place.stem
    return TESTS / place.parent / f"test_{name}.py"


def test_every_module_has_its_test_file() -> None:
    bare = [
        inside(p)
        for p in SOURCES
        if has_code(p) and inside(p) not in UNTESTED_MODULES and not mirror(p).exists()
    ]

    assert bare == []


def test_every_test_file_has_its_module() -> None:
    mirrors = {mirror(path) for path in SOURCES}
    stray = [
        path.relative_to(TESTS).as_posix()
        for path in sorted(TESTS.rglob("test_*.py"))
        if path not in mirrors and path.relative_to(TESTS).parts[0] not in MIRRORLESS_TESTS
    ]

    assert stray == []


# Words


def test_every_room_is_named_by_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}

    assert {room for room in rooms if f"stages/{room}" not in page} == set()
