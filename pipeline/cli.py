"""Words in, exit code out.

Every command imports what it works with when it runs: saying how to write a line, or how far another terminal is,
is not to wait for Dask and SimpleITK.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from pipeline.commands import (
    auditing,
    beginning,
    building,
    clusters,
    comparing,
    exporting,
    health,
    reviewing,
    ruling,
)
from pipeline.commands.said import BUG, INTERRUPTED, print_json, talk
from pipeline.io.quiet import hush
from pipeline.model.errors import CurationError

COMMANDS = (
    beginning.demo,
    beginning.init,
    beginning.index,
    beginning.plan,
    building.build,
    reviewing.review,
    building.pack,
    building.release,
    auditing.audit,
    comparing.rebuild,
    comparing.compare,
    exporting.convert,
    exporting.deidentify,
    clusters.cluster,
    ruling.rules,
    health.status,
    health.doctor,
    health.explain,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="curate-releases")
def curate() -> None:
    """Turn clinical DICOM and expert labels into labelled image releases that people can trust."""


for _command in COMMANDS:
    curate.add_command(_command)


def main() -> None:
    """Run the command line; end with the exit codes of the design."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    code = _run(words)
    talk.close_diary(code)
    return code


def _run(words: Sequence[str]) -> int:
    hush()
    try:
        result = curate.main(list(words), prog_name="curate", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as fault:
        fault.show(sys.stderr)
        return fault.exit_code
    except CurationError as error:
        return _refused(error, "--json" in words)
    except BaseException as fault:  # noqa: BLE001 - the last door: a bug must not quote what it was handling
        return _bug(fault)


def _interrupted() -> int:
    talk.print("Interrupted. What was finished is kept: run the same line to go on.", markup=False)
    return INTERRUPTED


def _refused(error: CurationError, as_json: bool) -> int:
    talk.print(f"curate: {error}", markup=False)
    talk.print(f"`curate explain {error.code}` says more.", markup=False)
    if as_json:
        document = {"code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where}
        print_json({"error": {**document, "advice": error.fault.advice}, "exit": error.exit_code})
    return error.exit_code


def _bug(fault: BaseException) -> int:
    """Print where a bug is, not what it says: the text of a foreign exception may quote a person."""
    talk.print("".join(traceback.format_tb(fault.__traceback__)), markup=False)
    talk.print(
        f"{type(fault).__name__}: this is a bug in curate. Its text is not shown: it may hold identity."
    )
    return BUG
