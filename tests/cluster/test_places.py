"""Which groups open, with which protection; job scripts as batch systems get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import places
from pipeline.cluster.places import Grounds, config_of, opened
from pipeline.io.clusterfile import load_cluster
from pipeline.model.clusterfile import SchedulerGroup, fused
from pipeline.model.errors import UsageError

CLUSTERS = Path(__file__).parents[2] / "docs/clusters"


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    return Grounds(tmp_path / "scratch", tmp_path / "jobs", tmp_path / "tls")


@pytest.mark.parametrize(("address", "code"), [("tcp", "plain-tcp"), ("tls", "certificates-missing")])
def test_what_lets_others_in_is_refused_before_anything_is_sent(
    address: str, code: str, grounds: Grounds
) -> None:
    file = fused(SchedulerGroup(kind="scheduler", address=f"{address}://198.51.100.1:8786"))
    with pytest.raises(UsageError, match=code), opened(file, "workers", grounds):
        pass


def test_what_is_not_installed_is_named_with_its_extra(
    grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(places, "import_module", absent)
    with (
        pytest.raises(UsageError, match=r"curate-releases\[cluster\]") as refused,
        opened(load_cluster(CLUSTERS / "slurm.yaml"), "workers", grounds),
    ):
        pass
    assert refused.value.code == "extra-missing"


SCRIPTS = {
    "slurm": [
        "#SBATCH -t 04:00:00",
        "#SBATCH -A imaging",
        "#SBATCH -p short",
        "#SBATCH --nice=100",
        "module load",
    ],
    "pbs": ["#PBS -l walltime=02:00:00", "#PBS -A imaging", "#PBS -q workq"],
    "sge": ["#$ -l h_rt=02:00:00", "#$ -q all.q"],
    "lsf": ["#BSUB -W 02:00", '#BSUB -P "imaging"', "#BSUB -q normal"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(SCRIPTS))
def test_a_job_asks_for_its_wall_time_and_its_worker_for_tls_and_a_lifetime(
    kind: str, grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = pytest.importorskip("dask_jobqueue")
    scripts: list[str] = []
    asked: list[Any] = []

    class NoScheduler(Exception):  # noqa: N818 - stands for a start that goes no further
        pass

    def start(self: Any, **options: Any) -> None:
        asked.append(options["scheduler"]["options"])
        scripts.append(self._dummy_job.job_script())
        raise NoScheduler

    monkeypatch.setattr(jobs.core.SpecCluster, "__init__", start)
    file = load_cluster(CLUSTERS / f"{kind}.yaml")
    with pytest.raises(NoScheduler), opened(_anywhere(file), "workers", grounds):
        pass
    (script,) = scripts
    assert [line for line in SCRIPTS[kind] if line not in script] == []
    lifetime = file.lifetime_s(file.workers)  # type: ignore[arg-type]  # these are all queues
    assert f"--lifetime {lifetime}s --lifetime-stagger {lifetime // 10}s" in script
    assert f"--tls-key {grounds.tls / 'workers/worker.key'}" in script
    assert "umask 077" in script
    assert "--no-dashboard --dashboard-address 127.0.0.1:0" in script
    assert (asked[0]["dashboard"], asked[0]["dashboard_address"]) == (False, "127.0.0.1:0")


def test_pages_without_a_password_are_served_only_where_a_file_asks_for_them(grounds: Grounds) -> None:
    file = load_cluster(CLUSTERS / "local.yaml")
    pages = [name for name in config_of(file) if name.endswith("http.routes")]

    assert [config_of(file)[name] for name in pages] == [[], []]
    assert not set(pages) & set(config_of(file.model_copy(update={"dashboard": "127.0.0.1:8787"})))


def _anywhere(file: Any) -> Any:
    """Return a file whose network interface this machine has."""
    return file.model_copy(update={"workers": file.workers.model_copy(update={"interface": None})})
