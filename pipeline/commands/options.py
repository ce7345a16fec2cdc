"""The options and arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.model.errors import UsageError

if TYPE_CHECKING:
    from pipeline.model.clusterfile import ClusterFile


class Writable(click.Path):
    """The path of a file or folder that is to be written; what stands above it must be folders, or not be there yet."""

    def __init__(self, *, is_file: bool = False) -> None:
        super().__init__(file_okay=is_file, dir_okay=not is_file, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; end the command when it lies below a file, or when no file system takes its name."""
        path = Path(str(super().convert(value, param, ctx)))
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as fault:
            self.fail(f"nothing can be written there: {fault.strerror}.", param, ctx)
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            self.fail(f"'{above}' is a file: nothing can be written below it.", param, ctx)
        return path


workspace_option = click.option(
    "-w",
    "--workspace",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The workspace folder.",
)


workspace_here_option = click.option(
    "-w",
    "--workspace",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The workspace folder.  [default: this folder]",
)


tasks_option = click.option(
    "-t", "--task", "tasks", multiple=True, metavar="TASK", help="Only this task; repeatable."
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


sources_argument = click.argument(
    "sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(exists=False, path_type=Path)
)


workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processes; 1 starts no cluster. Default: one a processor.",
)


scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Use the workers of this Dask scheduler, tls://host:port, instead.",
)


cluster_option = click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start workers as this file says: SLURM, PBS, SGE, LSF, Kubernetes, two zones.",
)


tls_option = click.option(
    "--tls",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Certificates for --scheduler, from curate cluster certs.",
)


plain_tcp_option = click.option(
    "--plain-tcp",
    is_flag=True,
    help="Let --scheduler go without TLS to another machine: anybody can listen in.",
)


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where cases are made; `chosen_where` reads them."""
    for option in (plain_tcp_option, tls_option, cluster_option, scheduler_option, workers_option):
        command = option(command)
    return command


def chosen_where(options: Mapping[str, Any]) -> int | ClusterFile | None:
    """Return what the options of `where_options` say; None leaves it to the settings."""
    from pipeline.io.clusterfile import load_cluster, reached

    named = [name for name in ("workers", "scheduler", "cluster") if options[name] is not None]
    if len(named) > 1:
        raise UsageError(
            "bad-usage", wanted="one of --workers, --scheduler, --cluster", found=" and ".join(named)
        )
    if options["scheduler"] is None and (options["tls"] is not None or options["plain_tcp"]):
        # A cluster file says it itself: what is named beside it must not be left out without a word.
        raise UsageError("bad-usage", wanted="--tls or --plain-tcp with --scheduler", found="no --scheduler")
    if options["cluster"] is not None:
        return load_cluster(options["cluster"])
    if options["scheduler"] is not None:
        tls = None if options["tls"] is None else str(options["tls"].resolve())
        return reached(options["scheduler"], tls, plain_tcp=options["plain_tcp"])
    workers: int | None = options["workers"]
    return workers


allow_option = click.option(
    "--allow-refusals",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="End with 0 up to N refused cases.",
)


rules_option = click.option(
    "--rules", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with own rules."
)


cases_option = click.option(
    "--cases", type=click.Path(path_type=Path), help="Case table (CSV): task, case, subject, ...."
)


release_option = click.option(
    "-r", "--release", "target", type=Writable(), required=True, help="The release folder."
)
