"""Cluster files are read strictly; those that the docs show are well by model and by schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from pipeline.io.clusterfile import cluster_schema, load_cluster, reached
from pipeline.model.errors import UsageError

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/clusters").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(f"format: curate-cluster/1\n{text}\n")
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_well_by_the_schema_that_is_printed(path: Path) -> None:
    jsonschema.validate(YAML(typ="safe").load(path), cluster_schema())
    assert load_cluster(path).groups


def test_there_is_an_example_of_every_kind_and_of_both_zones() -> None:
    files = [load_cluster(path) for path in EXAMPLES]
    kinds = {group.kind for file in files for group in file.groups.values()}
    assert kinds == {"local", "scheduler", "slurm", "pbs", "sge", "lsf", "kubernetes"}


def test_folders_and_certificates_lie_beside_the_file(tmp_path: Path) -> None:
    text = (
        "tls: {ca: a.pem, certificate: b.pem, key: c.key}\nstaging: stage\nworkers: {kind: local, workers: 2}"
    )
    file = load_cluster(write(tmp_path, text))
    assert file.staging == str(tmp_path / "stage")
    assert file.tls is not None
    assert not isinstance(file.tls, str)
    assert file.tls.key == str(tmp_path / "c.key")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers: {kind: local, worker: 2}", "perhaps meant as workers"),
        ("workers: {kind: slurp, workers: 2}", "'slurm'"),
        ("workers: {kind: local, workers: 2}\nworkers: {kind: local, workers: 3}", "the key once"),
        ("workers: {kind: scheduler, address: head}", "$.workers.address"),
        ("workers: [", "line"),
    ],
)
def test_every_fault_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="cluster-invalid") as refused:
        load_cluster(write(tmp_path, text))
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cluster-invalid"):
        load_cluster(tmp_path / "none.yaml")


def test_an_address_is_one_with_a_port() -> None:
    assert reached("tls://head:8786", "tls", plain_tcp=False).tls == "tls"
    with pytest.raises(UsageError, match="scheduler-unfit"):
        reached("head", None, plain_tcp=False)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ('workers: {kind: scheduler, address: "tcp://head:8786"}', "plain-tcp", "$.workers.address"),
        ('workers: {kind: scheduler, address: "tls://head:8786"}', "certificates-missing", "$.tls"),
        ("workers: {kind: kubernetes, workers: 2, image: a, memory: 8Gi}", "plain-tcp", "$.plain_tcp"),
        (
            "zones: separate\nphi: {kind: local, workers: 1}\n"
            'clean: {kind: scheduler, address: "tcp://head:8786"}',
            "plain-tcp",
            "$.clean.address",
        ),
    ],
)
def test_a_file_that_lets_others_in_is_refused_as_soon_as_it_is_read(
    tmp_path: Path, text: str, code: str, place: str
) -> None:
    with pytest.raises(UsageError, match=code) as refused:
        load_cluster(write(tmp_path, text))
    assert refused.value.where == place


def test_plain_tcp_is_well_on_this_machine_or_where_the_file_says_so(tmp_path: Path) -> None:
    here = 'workers: {kind: scheduler, address: "tcp://127.0.0.1:8786"}'
    there = 'plain_tcp: true\nworkers: {kind: scheduler, address: "tcp://head:8786"}'
    assert [load_cluster(write(tmp_path, text)).zones for text in (here, there)] == ["fused", "fused"]


def test_the_option_for_a_scheduler_is_refused_like_a_file() -> None:
    with pytest.raises(UsageError, match="plain-tcp") as refused:
        reached("tcp://head:8786", None, plain_tcp=False)
    assert refused.value.where == "--scheduler"
