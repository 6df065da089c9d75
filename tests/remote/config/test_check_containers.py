"""What cluster.toml may say of containers: which keys go together, and what a host gets of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError
from tests.remote.conftest import MakeCluster

HOST = '[[hosts]]\nname = "box1"\n'
MINE = 'runtime = "docker"\nimage = "mine:1"\n'


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "cluster.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [problem.removeprefix("cluster.toml:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'[environment]\nimage = "mine:1"\n{HOST}', "2: environment.image: is for containers; add runtime"),
        (f'[environment]\ndockerfile = "D"\n{HOST}', "2: environment.dockerfile: is for containers; add runtime"),
        (f'{HOST}image = "mine:1"\n', "3: hosts.box1.image: is for containers; add runtime"),
        (f'{HOST}runtime = "docker"\n', "3: hosts.box1.runtime: needs an image; add image = "),
        (f'[environment]\nruntime = "podman"\n{HOST}', "2: environment.runtime: needs an image"),
        (f'[environment]\nruntime = "lxc"\n{HOST}', '2: environment.runtime: must be "docker" or "podman", is "lxc"'),
        (f'{HOST}runtime = "lxc"\n', '3: hosts.box1.runtime: must be "docker", "podman" or "", is "lxc"'),
        (f'{HOST}{MINE}image_from = "disk"\n', '5: hosts.box1.image_from: must be "registry" or "master"'),
        (f'{HOST}{MINE}dockerfile = "D"\nimage_from = "master"\n', "6: hosts.box1.image_from: the host builds"),
        (f'[environment]\n{MINE}requirements = "r.txt"\n{HOST}', "4: environment.requirements: is not installed"),
        (f'[environment]\n{MINE}packages = "llm"\n{HOST}', "4: environment.packages: is not installed"),
        (f'[environment]\nmounts = ["/srv"]\n{HOST}', "2: environment.mounts: is for containers; add runtime"),
        (
            f'[environment]\npackages = "lm"\n{HOST}',
            '2: environment.packages: "lm" is no list of packages; there is "llm"',
        ),
        (f'{HOST}packages = "lm"\n', '3: hosts.box1.packages: "lm" is no list of packages; there is "llm"'),
        (f'{HOST}{MINE}wheels = "w"\n', "5: hosts.box1.wheels: is not for containers"),
        (f'{HOST}{MINE}connect = "demo"\nspeed = 0.5\n', "6: hosts.box1.speed: is not emulated"),
    ],
)
def test_what_does_not_go_together_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ("models", "a folder begins with / or ~/"),
        ("../models", "a folder begins with / or ~/"),
        ("~ada/models", "a folder begins with / or ~/"),
        ("", "a folder begins with / or ~/"),
        ("~", "a folder begins with / or ~/"),
        ("~/", "the whole home folder"),
        ("/srv/../etc", "without . and .."),
        ("/srv/models:/models/../etc", "without . and .."),
        ("/srv/models:ro:/models", "it is "),
        ("/srv/models:/models:ro,z", "it is "),
        ("/srv/models:models", "a folder begins with / or ~/"),
        ("/srv/models:/", "/ is of the image inside"),
        ("/", "/ is of the image inside"),
        ("/srv/models:/etc/ssl", "/etc/ssl is of the image inside"),
        ("/proc", "/proc is of the image inside"),
        ("~/.motley/runs", "~/.motley is Motley's own"),
        ("/srv:~/.motley", "~/.motley is Motley's own"),
        ("/srv\\n/models", "it holds the character U+000A"),
    ],
)
def test_folders_that_containers_do_not_get(tmp_path: Path, mount: str, problem: str) -> None:
    (found,) = problems(tmp_path, f'{HOST}{MINE}mounts = ["~/ok", "{mount}"]\n')
    assert found.startswith("5: hosts.box1.mounts: has ")
    assert problem in found


def test_no_two_folders_at_one_place(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'{HOST}{MINE}mounts = ["/a:/models", "/b:/models/"]\n')
    assert "has two folders at /models; name another place inside for one: /b:/other" in found


def test_a_host_s_folders_take_the_place_of_those_of_all(make_cluster: MakeCluster) -> None:
    text = f'[environment]\n{MINE}mounts = ["~/a", "/b:/c:ro"]\n[[hosts]]\nname = "a"\n'
    a, b = make_cluster(f'{text}[[hosts]]\nname = "b"\nmounts = []\n').hosts
    assert (a.mounts, b.mounts) == (("~/a", "/b:/c:ro"), ())


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("", "is empty"),
        ("-v", "must begin with a letter or a digit"),
        ("a b", "holds a space"),
        ("a;b", 'holds ";"'),
        ("https://hub.docker.com/r/x", "is a URL"),
        ("ünï", "must begin"),
        ("a$(b)", 'holds "$"'),
    ],
)
def test_names_that_no_image_has(tmp_path: Path, image: str, problem: str) -> None:
    (found,) = problems(tmp_path, f'{HOST}runtime = "docker"\nimage = "{image}"\n')
    assert problem in found


@pytest.mark.parametrize(
    "image",
    ["mine", "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime", "localhost:5000/a/b:1",
     "nvcr.io/nvidia/pytorch:25.01-py3", "a@sha256:8f5a"],
)  # fmt: skip
def test_names_that_images_have(make_cluster: MakeCluster, image: str) -> None:
    (host,) = make_cluster(f'{HOST}runtime = "docker"\nimage = "{image}"\n').hosts
    assert host.image == image


def test_a_host_has_what_all_have_or_its_own_or_none(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(
        f'[environment]\n{MINE}requirements = "r.txt"\ndockerfile = "D"\n'
        '[[hosts]]\nname = "a"\n'
        '[[hosts]]\nname = "b"\nruntime = "podman"\nimage = "other"\ndockerfile = ""\nimage_from = "master"\n'
        '[[hosts]]\nname = "c"\nruntime = ""\n'
    )
    a, b, c = cluster.hosts
    assert (a.runtime, a.image, a.dockerfile, a.image_from) == ("docker", "mine:1", str(tmp_path / "D"), "registry")
    assert (b.runtime, b.image, b.dockerfile, b.image_from) == ("podman", "other", None, "master")
    assert (c.runtime, c.requirements) == (None, str(tmp_path / "r.txt"))
