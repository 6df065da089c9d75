"""A real docker for the tests in this folder: the daemon of this machine, or one that is started for them, as root.

    with docker(folder) as reason:     # "" when there is one
        make_image(folder, "motley-test")

The image is made from the Python that runs the tests, without a registry: what it needs of the standard library, and
the shared libraries. torch is in it by name only; in `make_torch_image` it is the one that is installed here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

UP_S = 60.0
DOWN_S = 20.0
LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "turtledemo", "pydoc_data"}
TORCH = "2.13.0"
WITH_TORCH = (
    "torch", "torch-*", "torchgen", "functorch", "numpy", "numpy.libs", "numpy-*", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions.py", "nvidia", "triton",
)  # fmt: skip


def answers() -> bool:
    return shutil.which("docker") is not None and said("version", "--format", "{{.Server.Version}}")[0] == 0


def said(*words: str, timeout_s: float = 60.0) -> tuple[int, str]:
    done = subprocess.run(
        ["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False
    )
    return done.returncode, done.stdout


def docker(folder: Path) -> contextlib.AbstractContextManager[str]:
    """Gives the reason why there is none, else an empty text. A daemon that was started ends with the block."""
    if answers():
        return contextlib.nullcontext("")
    program = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin")
    if shutil.which("docker") is None or program is None:
        return contextlib.nullcontext("no docker on this machine: apt-get install docker.io")
    if os.getuid() != 0:
        return contextlib.nullcontext("docker's daemon is not to be reached, and only root can start one")
    return _daemon(program, folder)


@contextlib.contextmanager
def _daemon(program: str, folder: Path) -> Iterator[str]:
    argv = [program, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
            "--iptables=false", "--bridge=none"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            yield "" if _comes_up(process) else f"dockerd did not come up: {(folder / 'log').read_text()[-500:]}"
        finally:
            process.terminate()
            try:
                process.wait(DOWN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for mounted in Path(folder, "exec", "netns").glob("*"):  # which it leaves
                subprocess.run(["umount", mounted], check=False)


def _comes_up(process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + UP_S
    while process.poll() is None and time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.1)
    return False


def make_image(folder: Path, name: str, *, python: bool = True, torch: bool = True) -> None:
    """By `docker import` of a tar."""
    path = folder / "image.tar"
    with tarfile.open(path, "w") as tar:
        if python:
            _add_python(tar)
        else:
            tar.add("/etc/hostname", arcname="etc/hostname")
        if torch:
            _add_torch(tar, folder)
    code, text = said("import", str(path), name)
    path.unlink()
    assert code == 0, text


def make_torch_image(name: str) -> None:
    """Hundreds of MB: copied from what the tests run with."""
    packages = Path(sysconfig.get_path("purelib"))
    library = f"usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    importing = subprocess.Popen(["docker", "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert importing.stdin is not None
    with importing.stdin, tarfile.open(fileobj=importing.stdin, mode="w|") as tar:
        there = _add_python(tar)
        found = sorted(place for pattern in WITH_TORCH for place in packages.glob(pattern))
        programs = [str(file) for place in found for file in place.glob("**/*.so*")]
        for place in found:
            tar.add(place, arcname=f"{library}/{place.name}")
        for shared in sorted(_libraries(programs) - there):
            if not shared.startswith(str(packages)):
                tar.add(os.path.realpath(shared), arcname=shared.lstrip("/"))
    assert importing.wait() == 0


def _add_python(tar: tarfile.TarFile) -> set[str]:
    """Returns the shared libraries that are in it then."""
    library = Path(sysconfig.get_path("stdlib"))
    program = os.path.realpath(sys.executable)
    tar.add(program, arcname="usr/local/bin/python3")
    tar.add(library, arcname=f"usr/local/lib/{library.name}", filter=_needed)
    tmp = tarfile.TarInfo("tmp")
    tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
    tar.addfile(tmp)
    shared = _libraries([program, *map(str, (library / "lib-dynload").glob("*.so"))])
    for place in sorted(shared):
        tar.add(os.path.realpath(place), arcname=place.lstrip("/"))
    return shared


def _needed(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(info.name).parts[4:]
    left_out = parts and (parts[0] in LEFT_OUT or parts[0].startswith("config-"))
    return None if left_out or ".opt-" in info.name else info


def _libraries(programs: list[str]) -> set[str]:
    """As ldd tells: the paths at which they are looked for."""
    text = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", text, re.MULTILINE))


def _add_torch(tar: tarfile.TarFile, folder: Path) -> None:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    files = {
        f"torch-{TORCH}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH}\n",
        "torch/__init__.py": "",
        "torch/version.py": f"__version__ = '{TORCH}'\ncuda = None\n",
    }
    for name, text in files.items():
        (folder / "file").write_text(text)
        tar.add(folder / "file", arcname=f"usr/local/lib/{version}/site-packages/{name}")
    (folder / "file").unlink()
