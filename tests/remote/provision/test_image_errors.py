"""What is said when a host can't run its ranks in a container: by what docker and podman really say."""

from __future__ import annotations

import pytest

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CommandFailed, Finding
from motley.remote.provision import virtualenv
from motley.remote.provision.container_images import KIND
from motley.remote.provision.image_errors import too_old, trouble
from motley.remote.provision.packages import Looked, judged
from motley.remote.provision.wanted_image import Wanted, read
from tests.remote.conftest import MakeCluster

BOX = Host(name="box", address="10.0.0.7", user="ada")
DENIED = (
    "Error response from daemon: pull access denied for mine, repository does not exist or may require 'docker login'"
)


def wanted(runtime: str = "docker", image: str = "mine:1") -> Wanted:
    return Wanted(runtime=runtime, image=image, from_master=False, built=None, gpus=True)


@pytest.mark.parametrize(
    ("at", "code", "said", "cause", "remedy"),
    [
        ("program", 127, [], "there is no docker there", "'sudo apt install docker.io'"),
        (
            "daemon",
            1,
            ["Got permission denied while trying to connect"],
            "may not use docker",
            "usermod -aG docker $USER",
        ),
        ("daemon", 1, ["Cannot connect to the Docker daemon"], "is not to be reached: Cannot", "enable --now docker"),
        ("daemon", 124, ["docker version did not answer within 7 s"], "did not answer within 7 s", "docker"),
        ("pull", 1, [DENIED], "can't be pulled: Error response from daemon: pull access denied", "'docker login'"),
        (
            "pull",
            1,
            ["1: Pulling", "net/http: TLS handshake timeout"],
            "TLS handshake timeout",
            'image_from = "master"',
        ),
        (
            "build",
            1,
            ["Step 1/3", "ERROR: No matching distribution"],
            "could not build the image: ERROR: No m",
            "mine:1",
        ),
        (
            "build",
            1,
            ["the --mount option requires BuildKit. Refer to"],
            "builds without BuildKit, which mine:1 needs",
            "'sudo apt install docker-buildx'",
        ),
        ("gpus", 125, ["could not select device driver"], "gives containers no GPUs", "--runtime=docker"),
        ("python", 127, [], "the image mine:1 has no python3", "Python 3.10 and torch"),
        (
            "python",
            1,
            ["Segmentation fault"],
            "does not work: Segmentation fault",
            "--entrypoint python3 mine:1 --version",
        ),
        ("files", 0, ["No space left on device: /x"], "No space left on device", "df -h"),
    ],
)
def test_each_has_its_cause_and_its_remedy(at: str, code: int, said: list[str], cause: str, remedy: str) -> None:
    told = trouble(BOX, wanted(), at, code, said)
    assert cause in told[0]
    assert remedy in told[1]


def test_words_for_podman() -> None:
    assert "cdi generate" in trouble(BOX, wanted("podman"), "gpus", 126, ["unresolvable CDI devices"])[1]
    assert "podman info" in trouble(BOX, wanted("podman"), "daemon", 125, ["cannot re-exec"])[1]
    private = trouble(BOX, wanted("podman", "ghcr.io/ada/mine"), "pull", 125, ["Error: unauthorized"])
    assert "podman login ghcr.io" in private[1]


def test_an_old_python_is_that_of_the_image() -> None:
    assert too_old(wanted(), "3.8.1")[0] == "python3 in the image mine:1 is Python 3.8.1; Motley needs 3.10 or newer"


def test_an_image_that_is_built_has_another_name_when_anything_of_it_changes(make_cluster: MakeCluster) -> None:
    def names(dockerfile: str, requirements: str, base: str) -> str:
        cluster = make_cluster(
            f'[environment]\nruntime = "docker"\nimage = "{base}"\ndockerfile = "D"\nrequirements = "r.txt"\n'
            '[[hosts]]\nname = "a"\n'
        )
        (cluster.path.parent / "D").write_text(dockerfile)
        (cluster.path.parent / "r.txt").write_text(requirements)
        return read(cluster, cluster.hosts)["a"].name

    found = [names("FROM x", "", "b"), names("FROM y", "", "b"), names("FROM x", "a", "b"), names("FROM x", "", "c")]
    assert len(set(found)) == 4
    assert names("FROM x", "", "b") == found[0]
    assert all(name.startswith("motley:") for name in found)


def test_gpus_are_tried_where_ranks_may_use_them_only(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        '[environment]\nruntime = "docker"\nimage = "m"\n[[hosts]]\nname = "a"\n'
        '[[hosts]]\nname = "b"\ndevices = ["cpu"]\n[[hosts]]\nname = "c"\ndevices = ["cuda:1"]\n'
        '[[hosts]]\nname = "d"\nruntime = ""\n'
    )
    found = read(cluster, cluster.hosts)
    assert {name: one.gpus for name, one in found.items()} == {"a": True, "b": False, "c": True}


@pytest.fixture
def two(make_cluster: MakeCluster) -> Cluster:
    return make_cluster('[[hosts]]\nname = "a"\nruntime = "docker"\nimage = "m"\n[[hosts]]\nname = "b"\n')


def test_what_an_image_may_bring_is_not_missed_before_it_is_there(two: Cluster) -> None:
    found = [Finding(name, "torch", "error", "no torch", "") for name in ("a", "b")]
    looked = judged(two, found, [Looked(KIND, without=["a"])])
    assert [(f.host, f.check, f.level) for f in looked] == [("a", "container", "warning"), ("b", "torch", "error")]
    failed = judged(two, found, [Looked(KIND, failed={"a": CommandFailed("a", "no docker", "install it")})])
    assert [(f.host, f.check, f.level) for f in failed] == [("a", "container", "error"), ("b", "torch", "error")]
    assert judged(two, found, [Looked(KIND)]) == tuple(found)


def test_environments_and_images_are_judged_together(two: Cluster) -> None:
    found = [Finding(name, "torch", "error", "no torch", "") for name in ("a", "b")]
    looked = judged(two, found, [Looked(virtualenv.KIND, without=["b"]), Looked(KIND, without=["a"])])
    assert [(f.host, f.check, f.cause) for f in looked] == [
        ("a", "container", "its image is not there yet; whether torch is in it is not known"),
        ("b", "environment", "its environment is not made yet; whether torch is in it is not known"),
    ]
    assert [f.remedy.partition(":")[0] for f in looked] == [
        "It is brought before a run starts", "It is made before a run starts",
    ]  # fmt: skip
