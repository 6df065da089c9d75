"""A container image for the ranks of this host: is it there, have it pulled or built, and what is inside. Runs on a
host: see `trainer.bootstrap`.

One line of JSON comes in: `{"runtime": "docker" or "podman", "image": its name, "get": whether to have it pulled or
built where it is not there, "build": null or {"key": hash, "files": {name: text}, "base": image or ""}, "gpus": whether
ranks may use them, "inside": the program that looks into it}`. `{"note": text}` tells how it goes; the answer is
`{"ok": true, "id", "content": hash, "rootless", "lingers", "python", "torch", "torch_build", "pillow"}`, of which `id`
is empty when it is not there; or `{"ok": false, "stage": what did not work, "code", "said": its last lines}`, for which
`remote.provision.image_errors` has words.

`content` tells whether two images are the same, on machines that number them differently.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from typing import Any, BinaryIO

from motley.trainer.bootstrap.files import OURS, answer, names
from motley.trainer.bootstrap.long_command import LAST, follow

IMAGES = os.path.join(OURS, "image")  # what they are built from
ASK_S = 10.0
OWN_BUILDKIT = 23  # docker before it
INSIDE_S = 60.0  # of a large image for the first time
CARDS = "/proc/driver/nvidia/gpus"
FORMAT = "{{.Id}} {{json .RootFS.Layers}} {{json .Config.Env}}"
LINGERING = "/var/lib/systemd/linger"
ANSWERS = {"docker": ["version", "--format", "{{.Server.Version}}"], "podman": ["info"]}


class Failed(Exception):
    def __init__(self, stage: str, code: int, said: list[str]) -> None:
        self.stage, self.code, self.said = stage, code, said[-LAST:]


def main(_argv: list[str], stdin: BinaryIO) -> None:
    request = json.loads(stdin.readline())
    try:
        answer({"ok": True, **look(request)})
    except Failed as failed:
        answer({"ok": False, "stage": failed.stage, "code": failed.code, "said": failed.said})
    except OSError as error:
        answer({"ok": False, "stage": "files", "code": 0, "said": [f"{error.strerror}: {error.filename}"]})


def look(request: dict[str, Any]) -> dict[str, Any]:
    runtime, image = request["runtime"], request["image"]
    if shutil.which(runtime) is None:
        raise Failed("program", 127, [])
    _ask("daemon", [runtime, *ANSWERS[runtime]])
    found = _found(runtime, image)
    if not found and request["get"]:
        if request["build"]:
            _build(runtime, image, request["build"])
        else:
            answer({"note": "pulling " + image})
            _follow("pull", [runtime, "pull", image])
        found = _found(runtime, image)
    if not found:
        return {"id": ""}
    told = _inside(runtime, found[0], request)
    return {"id": found[0], "content": found[1], "rootless": _rootless(runtime), "lingers": _lingers(), **told}


def _found(runtime: str, image: str) -> tuple[str, str] | None:
    """Its id and the hash of what it holds; None when it is not there."""
    code, said = _said([runtime, "image", "inspect", "--format", FORMAT, image])
    line = said[-1] if said else ""
    if code != 0 or " " not in line:
        return None
    name, _, content = line.partition(" ")
    return name, hashlib.sha256(content.encode()).hexdigest()


def _inside(runtime: str, image: str, request: dict[str, Any]) -> dict[str, Any]:
    """What the program inside says; tried with the GPUs, where ranks may use them."""
    run = [runtime, "run", "--rm", "--network", "none", "--log-driver", "none"]
    python = ["--entrypoint", "python3", image, "-c", request["inside"]]
    cards = ["--device", "nvidia.com/gpu=all"] if runtime == "podman" else ["--gpus", "all"]
    wanted = request["gpus"] and (names(CARDS) or shutil.which("nvidia-smi"))
    code, said = _said([*run, *(cards if wanted else []), *python], INSIDE_S)
    if code != 0 and wanted:
        with_cards = Failed("gpus", code, said)
        code, said = _said([*run, *python], INSIDE_S)
        if code == 0 and (_told(said) or {}).get("torch_build"):
            raise with_cards
    told = _told(said)
    if code != 0 or told is None:
        raise Failed("python", code, said)
    return told


def _told(said: list[str]) -> dict[str, Any] | None:
    line = next((line for line in said if line.startswith("motley:")), "")
    return dict(json.loads(line[len("motley:") :])) if line else None


def _rootless(runtime: str) -> bool:
    """Of docker, whether its daemon runs as the user."""
    return runtime == "docker" and "rootless" in " ".join(
        _said(["docker", "info", "--format", "{{.SecurityOptions}}"])[1]
    )


def _lingers() -> bool:
    """Whether what belongs to the user's session stays when they log out."""
    if os.getuid() == 0 or not os.path.isdir("/run/systemd/system"):
        return True
    return os.path.exists(os.path.join(LINGERING, os.environ.get("LOGNAME", "")))


def _build(runtime: str, image: str, build: dict[str, Any]) -> None:
    folder = os.path.join(IMAGES, build["key"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name, text in build["files"].items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    answer({"note": "building the image"})
    base = ["--build-arg", "BASE=" + build["base"]] if build["base"] else []
    try:
        _follow("build", [runtime, "build", "--tag", image, *base, folder], _builder(runtime))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _builder(runtime: str) -> dict[str, str]:
    """What has docker build with BuildKit, which can mount files. Before version 23 docker has it itself, and must be
    asked for it; later ones need buildx, and refuse when they are asked without it.
    """
    if runtime != "docker":
        return {}
    version = " ".join(_said([runtime, "version", "--format", "{{.Client.Version}}"])[1])
    own = re.match(r"\d+", version)
    has_buildx = _said([runtime, "buildx", "version"])[0] == 0
    return {"DOCKER_BUILDKIT": "1"} if has_buildx or (own and int(own[0]) < OWN_BUILDKIT) else {}


def _ask(stage: str, argv: list[str]) -> None:
    code, said = _said(argv)
    if code != 0:
        raise Failed(stage, code, said)


def _said(argv: list[str], within_s: float = ASK_S) -> tuple[int, list[str]]:
    """Exit code and lines. 124: it did not end in time."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, [f"{argv[0]} {argv[1]} did not answer within {within_s:g} s"]
    return done.returncode, done.stdout.decode(errors="replace").splitlines()


def _follow(stage: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Raises Failed with the last that it said."""
    code, said = follow(argv, env=env)
    if code != 0:
        raise Failed(stage, code, said)
