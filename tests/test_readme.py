"""The pages say what is true: their commands run, and every command and code has its line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from running import Curate

from pipeline.cli import curate as cli
from pipeline.model.errors import FAULTS

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SHOWN = ("README.md", "docs/guide.md", "docs/privacy.md", "docs/commands.md")
TASK = "Task09_Spleen"


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def shell_lines(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def options_of(command: click.Command) -> set[str]:
    """Return the long options of a command and of the commands below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {name for option in command.params for name in option.opts if name.startswith("--")}
    return own.union(*(options_of(sub) for sub in below))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory, curate: Curate) -> Path:
    """Sources of one small task."""
    folder = tmp_path_factory.mktemp("phantom") / "demo"
    curate("demo", folder, "--task", TASK)
    return folder / "source"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_the_commands_of_a_page_run_as_written(name: str, phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "incoming").symlink_to(phantom)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    lines = [line for line in shell_lines(ROOT / name) if not line.startswith("make ")]

    for line in lines:
        done = subprocess.run(
            shlex.split(line, comments=True),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {line}\n{done.stdout}\n{done.stderr}"


def test_the_readme_shows_a_first_release_in_five_commands() -> None:
    block = next(b for b in (ROOT / "README.md").read_text().split("```sh\n") if b.startswith("curate init"))

    assert len(block.partition("```")[0].splitlines()) == 5


def test_every_make_target_that_a_page_names_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        name
        for page in pages()
        for name in re.findall(r"(?:`|^ *)make ([a-z0-9-]+)", page.read_text(), flags=re.M)
    }

    assert named - targets == set()
    assert {"demo", "test"} <= named


def sections() -> tuple[str, dict[str, str]]:
    """Return the head of the commands' page, and each command's section."""
    head, *rest = (ROOT / "docs/commands.md").read_text().split("\n## curate ")
    return head, {section.split()[0]: section for section in rest}


def test_every_command_is_described_and_no_other() -> None:
    assert set(sections()[1]) == set(cli.commands)


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_is_described(command: str) -> None:
    head, described = sections()

    assert {
        o for o in options_of(cli.commands[command]) if not re.search(rf"{o}\b", head + described[command])
    } == set()


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    group = cli.commands[command]

    for each in group.commands.values() if isinstance(group, click.Group) else (group,):
        assert each.help
        assert each.epilog is not None
        assert f"curate {command}" in each.epilog


def test_the_page_of_refusals_is_the_one_the_code_makes() -> None:
    command = [sys.executable, str(ROOT / "docs/make_refusals.py")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert (ROOT / "docs/refusals.md").read_text() == made, "run `make docs`"
    assert all(f"| `{code}` |" in made for code in FAULTS)


def test_every_link_between_pages_leads_somewhere() -> None:
    lost = [
        f"{page.name}: {target}"
        for page in pages()
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert lost == []
