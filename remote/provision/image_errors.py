"""What to say when a host can't run its ranks in a container: cause and remedy, from what docker or podman said. Pure.

>>> trouble(host, wanted, "daemon", 1, ["permission denied while trying to connect to the Docker daemon socket"])
('the user may not use docker', 'Put the user into its group, then log in anew: ssh -t box1 …')
"""

from __future__ import annotations

from collections.abc import Sequence

from motley.remote.config.cluster import Host
from motley.remote.provision.wanted_image import Wanted
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean
from motley.remote.ssh.shell import there

INSTALL = {"docker": "sudo apt install docker.io", "podman": "sudo apt install podman"}
TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
PAGE = "docs/environment.md"
LAST = 3  # lines of what was said


def trouble(host: Host, wanted: Wanted, stage: str, code: int, said: Sequence[str]) -> tuple[str, str]:
    """Cause and remedy of a `stage` that did not work: see `trainer.bootstrap.container_image`."""
    runtime, lines = wanted.runtime, [clean(line).strip() for line in said if line.strip()]
    words = _told(lines) or f"exit code {code}"
    match stage:
        case "program":
            return f"there is no {runtime} there", f"Install it: {there(host, INSTALL[runtime])}"
        case "daemon":
            return _daemon(host, runtime, words)
        case "pull":
            return _pull(host, wanted, words)
        case "build":
            if any(text in words for text in ("requires BuildKit", "buildx component is missing")):
                return f"docker there builds without BuildKit, which {wanted.made_of} needs", (
                    f"Install it: {there(host, 'sudo apt install docker-buildx')}"
                )
            text = f"{runtime} could not build the image: {words}"
            return text, f"Correct {wanted.made_of}, or look at the network there; the log has more of it."
        case "gpus":
            return f"{runtime} gives containers no GPUs: {words}", _gpus(host, runtime)
        case "python":
            return _python(host, wanted, code, words)
    return f"the image can't be looked at: {words}", f"See what is wrong: {there(host, f'{runtime} info; df -h ~')}"


def too_old(wanted: Wanted, python: str) -> tuple[str, str]:
    """Of the image's Python."""
    cause = f"python3 in {wanted.shown} is Python {python}; Motley needs 3.10 or newer"
    return cause, "Name an image with a newer one in cluster.toml."


def _daemon(host: Host, runtime: str, words: str) -> tuple[str, str]:
    if "permission denied" in words.lower():
        group = there(host, "sudo usermod -aG docker $USER")
        return f"the user may not use {runtime}", f"Put the user into its group, then log in anew: {group}"
    if runtime == "docker":
        start = there(host, "sudo systemctl enable --now docker")
        return f"docker's daemon is not to be reached: {words}", f"Start it: {start}"
    return f"podman does not work: {words}", f"See what is wrong: {there(host, 'podman info')}"


def _pull(host: Host, wanted: Wanted, words: str) -> tuple[str, str]:
    cause = f"{wanted.shown} is not there and can't be pulled: {words}"
    low = words.lower()
    if any(text in low for text in ("denied", "unauthorized", "authentication required", "login")):
        name = wanted.name.partition("/")[0] if "." in wanted.name.partition("/")[0] else ""
        login = there(host, pasteable([wanted.runtime, "login", *([name] if name else [])]))
        return cause, f"Correct its name, or log in to its registry there: {login}"
    remedy = "Correct its name in cluster.toml, look at the network there, or have this machine's image sent: "
    return cause, remedy + 'image_from = "master"'


def _python(host: Host, wanted: Wanted, code: int, words: str) -> tuple[str, str]:
    if code == 127 or "executable file not found" in words:
        return f"{wanted.shown} has no python3", f"Name one in cluster.toml that has Python 3.10 and torch ({PAGE})."
    run = pasteable([wanted.runtime, "run", "--rm", "--entrypoint", "python3", wanted.name, "--version"])
    return f"python3 in {wanted.shown} does not work: {words}", f"See what it says: {there(host, run)}"


def _gpus(host: Host, runtime: str) -> str:
    begin = f'Train on the CPU with devices = ["cpu"], or install the NVIDIA Container Toolkit ({TOOLKIT}) and have '
    if runtime == "podman":
        describe = there(host, "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")
        return f"{begin}it describe the GPUs: {describe}"
    join = there(host, "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker")
    return f"{begin}docker use it: {join}"


def _told(lines: Sequence[str]) -> str:
    """The lines that name the error, else the last ones."""
    errors = [line for line in lines if "error" in line.lower() or "denied" in line.lower()] or list(lines)
    return " / ".join(errors[-LAST:])
