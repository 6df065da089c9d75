"""What keeps a host from running its ranks in containers, and what is wrong with an image: see `misconfigured`."""

from __future__ import annotations

from tests.remote.preflight.misconfigured import Box, case

DAEMON = "a docker that answers as its client does"
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"


def docker(box: Box, *cases: str) -> None:
    """A docker that its Python finds first; `cases` are those of a shell, by its first word."""
    box.keys |= {"runtime": "docker", "image": "mine:1"}
    folder = box.folder / "bin"
    folder.mkdir(exist_ok=True)
    if cases:
        program = folder / "docker"
        program.write_text("\n".join(["#!/bin/sh", "case $1 in", *(f"{text};;" for text in cases), "esac", ""]))
        program.chmod(0o755)
    box.python(f"export PATH={folder}:/usr/bin:/bin" if cases else f"export PATH={folder}")


def image(python: str) -> tuple[str, ...]:
    """A docker that has an image, in which `python` is run for the program that looks into it."""
    return ("version) echo 28", "info) echo '[]'", "image) echo 'sha256:8f5a [\"one\"] null'", f"run) {python}")


def told(python: str, torch: str, pillow: str = "") -> str:
    return f"""echo 'motley:{{"python": "{python}", "torch": "{torch}", "torch_build": "", "pillow": "{pillow}"}}'"""


@case("container", "there is no docker there", command="sudo apt install docker.io")
def _docker_is_not_installed(box: Box) -> None:
    docker(box)


@case("container", "the user may not use docker", command="sudo usermod -aG docker $USER", stand_in=DAEMON)
def _the_user_is_not_in_the_group_of_docker(box: Box) -> None:
    docker(box, f"*) echo '{DENIED}' >&2; exit 1")


@case("container", "its image is not there yet", command="motley run", level="warning", stand_in=DAEMON)
def _the_image_is_not_there_yet(box: Box) -> None:
    docker(box, "version) echo 28", "*) exit 1")


@case("torch", "python3 in its image has no torch", remedy="docs/environment.md", stand_in=DAEMON)
def _the_image_has_no_torch(box: Box) -> None:
    docker(box, *image(told("3.12.1", "")))


@case("pillow", "python3 in its image has no Pillow", remedy="docs/environment.md", besides=("torch",), stand_in=DAEMON)
def _the_image_has_no_pillow(box: Box) -> None:
    docker(box, *image(told("3.12.1", "2.13.0")))
    box.alone = True
    box.cluster += ["[run]", 'task = "simple_cnn/image_folder"', "[data]", f'path = "{box.folder}"']
