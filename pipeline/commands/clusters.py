"""Commands on cluster files and certificates."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import Writable, json_option
from pipeline.commands.said import end, print_json


@click.group()
def cluster() -> None:
    """Check cluster files, print their JSON Schema, make the certificates of a cluster."""


@cluster.command("check", epilog="Example: curate cluster check cluster.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def cluster_check(file: Path, as_json: bool) -> int:
    """Read a cluster file strictly; every fault with its place."""
    from pipeline.io.clusterfile import load_cluster

    read = load_cluster(file)
    document = {"zones": read.zones, "groups": {name: group.kind for name, group in read.groups.items()}}
    return end(document, as_json, f"{file.name}: well. Next: curate build -w WORKSPACE --cluster {file}")


@cluster.command("schema", epilog="Example: curate cluster schema > cluster.schema.json")
@json_option
def cluster_schema_command(as_json: bool) -> int:
    """Print the JSON Schema of a cluster file."""
    from pipeline.io.clusterfile import cluster_schema

    print_json(cluster_schema())
    return 0


@cluster.command("certs", epilog="Example: curate cluster certs tls")
@click.argument("folder", type=Writable(), metavar="DIR")
@json_option
def cluster_certs(folder: Path, as_json: bool) -> int:
    """Make a CA and the certificates by which client, scheduler and workers know each other."""
    from pipeline.io.certificates import DAYS, make_certificates

    made = make_certificates(folder)
    line = f"Certificates written, for {DAYS} days; whoever reads {folder} can run code on the cluster."
    return end({"ca": str(made.ca), "days": DAYS}, as_json, line)
