"""Takes the place of docker in tests that need no container: what it is told to run, it runs as a process here.

`install` makes it a program that hosts find. It lists, kills and removes what it runs, as docker does, and as with
docker a client that is killed leaves the rest behind. tests/containers has the tests with the real one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

IMAGE = 'sha256:8f5a ["one"] null'
CLIENT = """#!/bin/sh
case $1 in
version) echo 28;;
info) echo '[]';;
image) echo '{image}';;
ps) [ -e {folder}/silent ] && echo 'Cannot connect to the Docker daemon' >&2 && exit 1
    for file in {folder}/running/*; do [ -e "$file" ] && echo "${{file##*/}} $(cat "$file")"; done; exit 0;;
rm) shift 2; for name; do rm -f "{folder}/running/$name"; done;;
*) exec {python} {here} {folder} "$@";;
esac
"""


def install(folder: Path) -> Path:
    """The folder for the PATH. What runs has a file in its folder `running`; `silent` there makes it refuse to list."""
    (folder / "running").mkdir(parents=True)
    program = folder / "docker"
    here = Path(__file__).resolve()
    program.write_text(CLIENT.format(folder=folder, image=IMAGE, python=sys.executable, here=here))
    program.chmod(0o755)
    return folder


def main(folder: Path, argv: list[str]) -> int:
    if argv[0] == "run":
        return run(folder / "running", argv)
    for name in argv[3:]:
        kill(int(name))
    return 0


def run(running: Path, argv: list[str]) -> int:
    words = argv[argv.index("--entrypoint") + 3 :]
    if words[0] == "-c":
        return subprocess.run([sys.executable, *words], check=False).returncode
    options = list(itertools.pairwise(argv))
    folder = next(value for option, value in options if option == "--workdir")
    env = {value: os.environ[value] for option, value in options if option == "--env"}
    labels = ",".join(value for option, value in options if option == "--label")
    child = subprocess.Popen([sys.executable, *words], cwd=folder, env=env, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child.pid, signal.SIGTERM))
    (running / str(child.pid)).write_text(labels)
    code = child.wait()
    (running / str(child.pid)).unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def kill(pid: int) -> None:
    """With its children, as the kernel does when the first process of a container ends."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            kill(int(child))
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
