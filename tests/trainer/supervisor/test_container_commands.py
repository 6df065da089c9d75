"""What docker and podman are told for a rank, whatever its paths and names are; and what they answer, understood."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import (
    BalanceOptions,
    Container,
    DataOptions,
    ElasticOptions,
    Member,
    RunOptions,
    Spec,
)
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.host.paths import HERE, run_folder
from motley.trainer.supervisor import containers
from motley.trainer.supervisor.container_commands import (
    Listed,
    Mount,
    User,
    exit_code,
    killing,
    labels,
    listed,
    listing,
    passed,
    removing,
    running,
    tag_of,
)

RUN = PurePath("/home/ada/.motley/runs/night/box1")
DOCKER = Container(runtime="docker", image="mine:1", id="sha256:8f5a")
PODMAN = Container(runtime="podman", image="mine:1", id="8f5a")
ADA = User(uid=1000, gid=1001, groups=(1001, 27, 999))
ROOT = User(uid=0, gid=0, groups=(0,))


def argv_of(container: Container = DOCKER, **changes: Any) -> list[str]:
    asked: dict[str, Any] = {
        "user": ADA, "home": "/home/ada", "folder": "/home/ada/.motley/code/1f", "names": ["RANK", "HOME"],
        "mounts": [Mount(str(RUN), writable=True), Mount("/home/ada/.motley/code/1f")], "labels": {"motley.tag": "77"},
    }  # fmt: skip
    return running(container, ["-m", "motley.trainer", "rank"], **{**asked, **changes})


def values(argv: list[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def mounts(argv: list[str]) -> list[dict[str, str]]:
    """As docker reads them: a line of CSV each, of `key=value` or a key alone."""
    rows = [next(csv.reader([value], strict=True)) for value in values(argv, "--mount")]
    return [dict(field.partition("=")[::2] for field in row) for row in rows]


def test_the_whole_command_for_docker() -> None:
    assert argv_of() == [
        "docker", "run", "--rm",
        "--network", "host", "--ipc", "host", "--log-driver", "none", "--security-opt", "label=disable",
        "--userns", "host", "--user", "1000:1001", "--group-add", "27", "--group-add", "999",
        "--workdir", "/home/ada/.motley/code/1f",
        "--tmpfs", "/home/ada:rw,exec,nosuid,nodev,mode=1777",
        "--mount", "type=bind,source=/home/ada/.motley/code/1f,target=/home/ada/.motley/code/1f,readonly",
        "--mount", f"type=bind,source={RUN},target={RUN}",
        "--env", "HOME", "--env", "RANK",
        "--label", "motley.tag=77",
        "--entrypoint", "python3", "sha256:8f5a", "-m", "motley.trainer", "rank",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("container", "user", "expected"),
    [
        (DOCKER, ROOT, ["--userns", "host", "--user", "0:0", "--workdir"]),
        (Container(runtime="docker", image="m", id="m", rootless=True), ADA, ["--user", "0:0", "--workdir"]),
        (PODMAN, ADA, ["--userns", "keep-id", "--user", "1000:1001", "--workdir"]),
        (PODMAN, ROOT, ["--user", "0:0", "--workdir"]),
    ],
)
def test_the_user_is_the_one_who_came_over_ssh(container: Container, user: User, expected: list[str]) -> None:
    argv = argv_of(container, user=user)
    after = argv.index("label=disable") + 1
    assert argv[after : after + len(expected)] == expected


def test_gpus_are_given_where_asked_for_only() -> None:
    assert values(argv_of(gpus=True), "--gpus") == ["all"]
    assert values(argv_of(PODMAN, gpus=True), "--device") == ["nvidia.com/gpu=all"]
    assert not {"--gpus", "--device"} & {*argv_of(), *argv_of(PODMAN)}


def test_processes_are_numbered_as_on_the_host_where_asked_for_only() -> None:
    assert values(argv_of(host_pids=True), "--pid") == values(argv_of(PODMAN, host_pids=True), "--pid") == ["host"]
    assert "--pid" not in argv_of(gpus=True)


def test_standard_input_is_held_for_who_reads_it_only() -> None:
    assert "--interactive" in argv_of(attended=True)
    assert "--interactive" not in argv_of()


def test_a_folder_that_is_named_twice_is_mounted_once_and_writable_if_it_must_be() -> None:
    for order in ([Mount("/a"), Mount("/a", writable=True)], [Mount("/a", writable=True), Mount("/a")]):
        assert mounts(argv_of(mounts=order)) == [{"type": "bind", "source": "/a", "target": "/a"}]


@pytest.mark.parametrize(("home", "named"), [("/", []), ("/home/ada", [Mount("/home/ada")])])
def test_a_home_folder_that_is_there_anyway_is_not_covered(home: str, named: list[Mount]) -> None:
    assert "--tmpfs" not in argv_of(home=home, mounts=named)


ODD = ["/a,b", "/a:b", '/a"b', "/a b", "/a'b", "/$HOME", "/-x", "/ünï", "/a=b", "/a\\b", '/",readonly,"', "/a;rm -rf b"]


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_arrive_as_they_are(path: str) -> None:
    argv = argv_of(home=path + "/home", folder=path + "/code", mounts=[Mount(path + "/run", writable=True)])
    bound = {"type": "bind", "source": path + "/run", "target": path + "/run"}
    if ":" in path:
        assert mounts(argv) == [{"type": "tmpfs", "target": path + "/home"}, bound]
    else:
        assert values(argv, "--tmpfs") == [path + "/home:rw,exec,nosuid,nodev,mode=1777"]
        assert mounts(argv) == [bound]
    assert values(argv, "--workdir") == [path + "/code"]


@settings(max_examples=25)
@given(st.text(st.characters(exclude_characters="\0\n\r", codec="utf-8"), min_size=1), st.booleans())
def test_any_path_is_one_field_of_a_mount(name: str, writable: bool) -> None:
    path = f"/{name}"
    bound = mounts(argv_of(mounts=[Mount(path, writable=writable)], home="/"))
    expected = {"type": "bind", "source": path, "target": path}
    assert bound == [expected if writable else {**expected, "readonly": ""}]


def test_values_of_variables_are_not_in_the_command() -> None:
    env = {
        "PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib", "HOME": "/home/ada", "TOKEN": "secret", "RANK": "3",
        "MOTLEY_DIR": str(RUN), "MOTLEY_ROOM": "....", "OMP_NUM_THREADS": "4", "VIRTUAL_ENV": "/venv",
    }  # fmt: skip
    names = passed(env, given={"TOKEN", "HF_HOME"})
    assert names == ["HOME", "TOKEN", "RANK", "MOTLEY_DIR", "OMP_NUM_THREADS"]
    argv = argv_of(names=names)
    assert values(argv, "--env") == sorted(names)
    assert not any("secret" in word for word in argv)


def test_cluster_toml_may_give_a_path_of_its_own() -> None:
    assert passed({"PATH": "/opt/conda/bin"}, given={"PATH"}) == ["PATH"]


def test_labels_find_a_run_by_a_tag_that_any_path_has() -> None:
    odd = PurePath('/home/a,b="c d"/.motley/runs/night/box1')
    assert labels(RUN, run="night", host="box1", member=2) == {
        "motley.tag": tag_of(RUN), "motley.run": "night", "motley.host": "box1", "motley.member": "2",
    }  # fmt: skip
    assert "motley.member" not in labels(RUN, run="night", host="box1")
    assert tag_of(odd) != tag_of(RUN)
    assert all(set(tag_of(folder)) <= set("0123456789abcdef") for folder in (odd, RUN, PurePath("/\udcff")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n \n", []),
        ("8f5a motley.member=2,motley.run=night,motley.tag=77aa", [Listed(id="8f5a", tag="77aa", member="2")]),
        ("8f5a map[motley.member:12 motley.tag:77aa]", [Listed(id="8f5a", tag="77aa", member="12")]),
        ("8f5a motley.tag=77aa", [Listed(id="8f5a", tag="77aa")]),
        ("8f5a com.example=1\n91 motley.tag=00,x=y\n", [Listed(id="91", tag="00")]),
        ("WARNING: no swap limit", []),
    ],
)
def test_what_is_listed(text: str, expected: list[Listed]) -> None:
    assert listed(text) == expected


def test_what_asks_and_ends() -> None:
    assert listing("podman")[:3] == ["podman", "ps", "--all"]
    assert killing("docker", ["a", "b"]) == ["docker", "kill", "--signal", "KILL", "a", "b"]
    assert removing("docker", ["a", "b"]) == ["docker", "rm", "--force", "a", "b"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (1, 1), (125, 125), (127, 127), (128, 128), (137, -9), (143, -15), (192, -64), (193, 193), (204, 204),
     (207, 207), (255, 255), (-9, -9)],
)  # fmt: skip
def test_exit_codes(code: int, expected: int) -> None:
    assert exit_code(code) == expected


@pytest.mark.parametrize(
    ("devices", "gpus", "pids"),
    [(("cpu", "cpu"), False, False), (("cuda:0", "cpu"), True, False), (("cuda:0", "cuda:1"), True, True)],
)
def test_gpus_of_one_host_need_processes_numbered_together(
    devices: tuple[str, ...], gpus: bool, pids: bool, home: Path
) -> None:
    members = tuple(Member(member=n, host="box1", local_rank=n, device=device) for n, device in enumerate(devices))
    spec = Spec(
        run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=1,
        members=(*members, Member(member=9, host="box2", local_rank=0, device="cuda:0")), options=RunOptions(),
        balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(path="~/mine"), env={"TOKEN": "secret"},
        container=DOCKER, resume="~/.motley/runs/old/box1/checkpoints",
    )  # fmt: skip
    for wanted in ("mine", ".motley/runs/old/box1/checkpoints"):
        (home / wanted).mkdir(parents=True)
    folder = run_folder("night", "box1")
    argv, env = containers.of_rank(
        spec, folder, ["rank", "--member", "0"], members[0], {"TOKEN": "secret", "RANK": "0"}
    )
    assert ("--gpus" in argv, "--pid" in argv) == (gpus, pids)
    assert argv[argv.index("--entrypoint") + 3 :] == [
        "-m", "motley.trainer", "contained", "--lock", f"{folder}/lock", "rank", "--run", "night", "--host", "box1",
        "--member", "0",
    ]  # fmt: skip
    bound = {mount["source"]: "readonly" not in mount for mount in mounts(argv)}
    bound.pop(containers.SYSTEM_DATA, None)
    assert bound == {
        str(HERE): False, str(folder): True, f"{home}/.motley/data": True, f"{home}/mine": False,
        f"{home}/.motley/runs/old/box1/checkpoints": False,
    }  # fmt: skip
    assert (env["HOME"], env["TOKEN"]) == (str(home), "secret")
    assert Spec.from_json(spec.to_json()) == spec


def test_the_user_s_own_files_are_in_the_container_to_read(home: Path) -> None:
    member = Member(member=0, host="box1", local_rank=0, device="cpu")
    task = OwnTask(tree="8f5a", file="night.py")
    spec = Spec(
        run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=1,
        members=(member,), options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(),
        data=DataOptions(), env={}, container=DOCKER, own_task=task,
    )  # fmt: skip
    script = Script(path="train.py", args=(), tree="77aa", port=1)
    asked = Calibration(
        options=RunOptions(), data=DataOptions(), device="cpu", batch=1, container=DOCKER, own_task=task
    )
    folder = run_folder("night", "box1")
    started = {
        "8f5a": containers.of_rank(spec, folder, ["rank"], member, {}),
        "77aa": containers.of_rank(replace(spec, own_task=None, script=script), folder, ["script"], member, {}),
    }
    measured, _ = containers.of_calibration(asked, "calibrate", folder, {})
    read, _ = containers.of_export(spec, folder, ["export", "--inside"])
    assert read[-4:] == ["-m", "motley.trainer", "export", "--inside"]
    for tree, (argv, _) in {**started, "8f5a ": (measured, {}), " 8f5a": (read, {})}.items():
        bound = {mount["source"]: "readonly" in mount for mount in mounts(argv)}
        assert bound[f"{home}/.motley/code/{tree.strip()}"]
    plain, _ = containers.of_calibration(replace(asked, own_task=None), "calibrate", folder, {})
    assert not any("/code/" in mount["source"] for mount in mounts(plain))
