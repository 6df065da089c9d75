"""What becomes of a run's job while its pods are waited for, and of what it had made when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import HostError, RunFailed, Unreachable, UsageError
from motley.remote.placement import kubernetes_job
from motley.remote.placement.kubernetes_job import KubernetesJob, runs_in
from tests.remote.placement.a_cluster import CLAIM, ACluster, job, pod

HOSTS = '[[hosts]]\nname = "large"\n[[hosts]]\nname = "small"\nnodes = 2\n'
TOML = f'[cluster]\nname = "cards"\nconnect = "kubernetes"\n{HOSTS}[kubernetes]\nkind = "jobset"\nworkspace = "1Gi"\n'
RUNS = [job("night"), *(pod("night", number) for number in range(3))]
NO_ANSWER = Unreachable("kubernetes", "kubectl get did not end within 30 s", "Is the cluster up?")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> ACluster:
    """Looked at without a pause."""
    found = ACluster()
    monkeypatch.setattr(kubernetes_job, "Kubectl", found.kubectl)
    monkeypatch.setattr(kubernetes_job, "LOOK_S", 0.0)
    return found


def cluster(folder: Path, *only: str) -> Cluster:
    (folder / "cluster.toml").write_text(TOML)
    return load(folder / "cluster.toml", only=only)


def place(folder: Path, say: Callable[[str], object]) -> Cluster:
    return asyncio.run(KubernetesJob(cluster(folder), "night").place(say, lambda **_: "kind: JobSet\n"))


def test_a_cluster_that_answers_no_question_for_once_is_asked_again(there: ACluster, tmp_path: Path) -> None:
    there.looks = [[job("night")], NO_ANSWER, NO_ANSWER, [job("night")], NO_ANSWER, RUNS]
    said: list[str] = []

    placed = place(tmp_path, said.append)

    assert [host.pod.run for host in placed.hosts if host.pod] == ["night"] * 3
    assert there.deleted == []
    asked_again = (
        "the cluster gives no answer (kubectl get did not end within 30 s): it is asked again, for 10 minutes. "
        "Is the cluster up?"
    )
    assert [text.partition(": ")[2] for text in said[1:]] == [
        "applying the manifests",
        "large, small-0, small-1: it has no pod yet",
        asked_again,
        "the cluster answers again",
        asked_again,
        "the cluster answers again",
        "all 3 pods run",
    ]


def test_one_that_never_answers_is_given_up(there: ACluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.placement.kubernetes_silence.MOST_S", 0.0)
    there.looks = [NO_ANSWER]

    with pytest.raises(HostError, match="did not end within 30 s"):
        place(tmp_path, lambda _: None)

    assert "jobsets.jobset.x-k8s.io/night" in there.deleted


def test_a_pod_that_never_begins_ends_the_start_though_others_run(there: ACluster, tmp_path: Path) -> None:
    there.looks = [[job("night"), pod("night", 0), pod("night", 1, "waiting", reason="ErrImageNeverPull")]]

    with pytest.raises(RunFailed, match="the pod of small-0 never begins: its image is not on the node"):
        place(tmp_path, lambda _: None)


async def given_up(there: ACluster, folder: Path, others: HostError | list[dict[str, object]]) -> list[str]:
    """Ctrl-C while pods are waited for: what is said of what is left. `others` came meanwhile."""
    there.looks = [[job("night")]]
    said: list[str] = []
    waits = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if "it has no pod yet" in text:
            waits.set()

    placing = asyncio.create_task(KubernetesJob(cluster(folder), "night").place(say, lambda **_: "kind: JobSet\n"))
    await waits.wait()
    there.others = others
    placing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await placing
    return [text for text in said if "volumes are left" in text]


async def test_ctrl_c_deletes_the_claims_that_were_made_for_the_run(there: ACluster, tmp_path: Path) -> None:
    assert await given_up(there, tmp_path, [job("night"), pod("night", 0)]) == []
    assert there.deleted[-1] == f"persistentvolumeclaim/{CLAIM}"


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([pod("morning", 0)], f"volumes are left: {CLAIM}, which the run morning uses"),
        ([job("morning")], f"volumes are left: {CLAIM}, which the run morning uses"),
        ([pod("", 7)], f"volumes are left: {CLAIM}, which Pod -7 uses"),
        (NO_ANSWER, f"volumes are left: {CLAIM}, since it can't be seen whether another run uses them (kubectl"),
    ],
)
async def test_a_claim_that_another_run_uses_by_now_stays(
    there: ACluster, tmp_path: Path, others: HostError | list[dict[str, object]], said: str
) -> None:
    (told,) = await given_up(there, tmp_path, others)

    assert said in told
    assert f"persistentvolumeclaim/{CLAIM}" not in there.deleted
    assert "jobsets.jobset.x-k8s.io/night" in there.deleted


def test_a_run_of_some_of_the_hosts_is_found_as_that(there: ACluster, tmp_path: Path) -> None:
    """Its pods are numbered among themselves; the whole file has `large` as the first."""
    part = {host.name: host.pod.number for host in cluster(tmp_path, "small").hosts if host.pod}
    there.looks = [[job("night", "small-0", "small-1"), pod("night", 0), pod("night", 1)]]
    whole = cluster(tmp_path)

    placement = KubernetesJob(whole, "night")
    found = asyncio.run(placement.found(lambda _: None))

    assert {host.name: host.pod.number for host in found.hosts if host.pod} == part
    assert found.leader == "small-0"
    assert asyncio.run(placement.state()).says == "all 2 pods run"
    assert [(run, state.says) for run, state in asyncio.run(runs_in(whole))] == [("night", "all 2 pods run")]


def test_a_run_of_all_hosts_or_without_a_note_is_found_as_before(there: ACluster, tmp_path: Path) -> None:
    for noted in ((), ("large", "small-0", "small-1")):
        there.looks = [[job("night", *noted), *RUNS[1:]]]

        found = asyncio.run(KubernetesJob(cluster(tmp_path), "night").found(lambda _: None))

        assert [(host.name, host.pod.number) for host in found.hosts if host.pod] == [
            ("large", 0), ("small-0", 1), ("small-1", 2),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        (("small-0", "tiny\x1b[2J"), r"'night' also runs on tiny\S*, which cluster.toml does not have"),
        (("large", "large"), "names a host twice"),
    ],
)
def test_hosts_that_cluster_toml_does_not_have_are_refused(
    there: ACluster, tmp_path: Path, noted: tuple[str, ...], said: str
) -> None:
    there.looks = [[job("night", *noted), pod("night", 0)]]

    with pytest.raises(UsageError, match=said) as raised:
        asyncio.run(KubernetesJob(cluster(tmp_path), "night").found(lambda _: None))
    assert "\x1b" not in str(raised.value)
