"""What goes wrong on the way to a host and with its Python: see `misconfigured`."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

from tests.remote.preflight.misconfigured import Box, case
from tests.remote.sshd import make_key
from tests.support.ports import free_pair


@case("reachable", "nothing listens on port", command="sudo systemctl start ssh")
def _sshd_is_not_started(box: Box) -> None:
    box.serve()
    box.keys["port"] = free_pair()


@case("reachable", "took the connection and then said nothing", command="ssh -v ")
def _sshd_hangs(box: Box) -> None:
    listener = box.held.enter_context(socket.create_server(("127.0.0.1", 0)))
    box.serve()
    box.keys["port"] = listener.getsockname()[1]


@case("reachable", "the name no-such-host.invalid can't be resolved", remedy="Correct address in cluster.toml")
def _name_is_misspelt(box: Box) -> None:
    box.serve()
    box.keys["address"] = "no-such-host.invalid"


@case("reachable", "by way of the jump host 127.0.0.1: nothing listens on port", command="sudo systemctl start ssh")
def _jump_host_is_down(box: Box) -> None:
    box.serve()
    box.keys["jump"] = f"127.0.0.1:{free_pair()}"


@case("host_key", "is not known yet. It shows SHA256:", command="ssh -i ")
def _host_key_is_new(box: Box) -> None:
    box.serve(known=False)


@case("host_key", "is not the one in", command="ssh-keygen -f ")
def _host_key_has_changed(box: Box) -> None:
    sshd = box.serve(known=False)
    other = make_key(box.folder / "other").with_suffix(".pub").read_text()
    (box.user_home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    with (box.user_home / ".ssh/known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{sshd.port} {other}")


@case("authentication", "may not log in on 127.0.0.1", command="ssh-copy-id -i ")
def _key_is_not_let_in(box: Box) -> None:
    box.serve()
    box.keys["identity"] = str(make_key(box.folder / "mine"))


@case("connect", "the identity", command="ssh-keygen -t ed25519 -f ")
def _identity_is_not_there(box: Box) -> None:
    box.serve()
    box.keys["identity"] = str(box.folder / "none")


@case("shell", "This account is currently not available", command="sudo chsh -s /bin/bash USER")
def _user_has_no_login_shell(box: Box) -> None:
    box.serve("ForceCommand /usr/sbin/nologin")


@case(
    "system",
    "it runs Windows: 'exec' is not recognized",
    remedy="wsl --install",
    stand_in="the message of Windows' cmd.exe, said by sshd's ForceCommand",
)
def _it_is_Windows(box: Box) -> None:  # noqa: N802
    said = box.folder / "said"
    said.write_text("'exec' is not recognized as an internal or external command,\noperable program or batch file.\n")
    box.serve(f"ForceCommand cat {said} >&2; exit 1")


@case("system", "it runs Darwin", remedy="container", stand_in="os.uname that says Darwin")
def _it_is_a_Mac(box: Box) -> None:  # noqa: N802
    patch = "import os\nreal = os.uname()\nos.uname = lambda: os.uname_result(('Darwin', *tuple(real)[1:]))\n"
    box.python(box.module("sitecustomize.py", patch))


@case("python", "the Python '/opt/none/python' is not there", command="sudo apt install python3")
def _python_is_not_there(box: Box) -> None:
    box.keys["python"] = "/opt/none/python"


@case("python", "can't be run", command="findmnt -T ")
def _python_may_not_be_executed(box: Box) -> None:
    box.python()
    Path(str(box.keys["python"])).chmod(stat.S_IRUSR)


@case("python", "is Python 3.9.2; Motley needs 3.10", remedy="python in cluster.toml", stand_in="its version, changed")
def _python_is_too_old(box: Box) -> None:
    box.python(box.module("sitecustomize.py", "import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n"))


@case("torch", "has no torch", command=' -m pip install "torch==')
def _torch_is_missing(box: Box) -> None:
    bare = box.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    box.keys["python"] = str(bare / "bin/python")


@case(
    "torch",
    "torch 2.5.1 is older than 2.6",
    command=' -m pip install "torch==',
    stand_in="the files that name torch's version",
)
def _torch_is_too_old(box: Box) -> None:
    box.python(box.torch("2.5.1"))


@case(
    "torch",
    "torch 2.6.0, where most hosts have",
    command=' -m pip install "torch==',
    level="warning",
    stand_in="the files that name torch's version",
)
def _torch_differs(box: Box) -> None:
    box.python(box.torch("2.6.0"))
