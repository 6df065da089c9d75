"""One host of the lab: an address, a host name, PIDs, a home folder, a CPU quota and Debian's sshd of its own.

Made by `tests.lab.lab.Lab`. What can happen to a machine can be done to it:

    host.crash()        its processes end at once, its peers get resets
    host.power_cut()    the same, and its peers hear nothing
    host.unplug()       the network cable is out; everything runs on
    host.freeze()       everything stands still; the kernel still answers
    host.boot_again()   after a crash or power cut: same disk, new boot id, no process of before
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.lab import network
from tests.lab.cgroup import Cgroup
from tests.support.proc import process_file

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = Path(pwd.getpwuid(0).pw_dir)
BOOT_TIMEOUT_S = 15.0

SSHD_CONFIG = """\
Port 22
HostKey {folder}/host_key
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
Subsystem sftp internal-sftp
"""


class HostError(RuntimeError):
    """A host of the lab did not do as it was told; the message ends with its log."""


class LabHost:
    def __init__(
        self,
        name: str,
        address: str,
        folder: Path,
        group: Cgroup,
        bridge: network.Namespace,
        *,
        disk_mib: int | None = None,
    ) -> None:
        """`disk_mib`: size of the disk that its home is on; None: as much as there is."""
        self.name = name
        self.address = address
        self.folder = folder
        self.home = folder / "home"  # as this side sees it; on the host it is root's home
        self.cores: float | None = None
        self.link_mbit: float | None = None
        self._disk_mib = disk_mib
        self._group = group
        self._bridge = bridge
        self.namespace = network.Namespace(group)
        self._machine: subprocess.Popen[str] | None = None
        self._listening = threading.Event()
        self._log: list[str] = []

    def prepare_disk(self, public_key: str, others: Sequence[LabHost]) -> None:
        """Everything that is there before the first boot."""
        self.home.mkdir(parents=True)
        if self._disk_mib is not None:
            size = f"size={self._disk_mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.home)], check=True)
        (self.home / ".ssh").mkdir(mode=0o700)
        self.home.chmod(0o700)
        (self.home / ".ssh" / "authorized_keys").write_text(public_key)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(self.folder / "host_key")],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        (self.folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=self.folder))
        # As Debian's installer writes it: a host's own name is not the address that others reach it at.
        names = [f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n", *(f"{o.address} {o.name}\n" for o in others)]
        (self.folder / "hosts").write_text("".join(names))
        (self.folder / "shadow").write_text("root:*:20000:0:99999:7:::\nsshd:!:20000::::::\n")
        (self.folder / "shadow").chmod(0o600)

    @property
    def public_host_key(self) -> str:
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"{kind} {key}"

    @property
    def log(self) -> str:
        """What its sshd has said."""
        return "".join(self._log)

    @property
    def is_up(self) -> bool:
        return self._machine is not None and self._machine.poll() is None

    def boot(self) -> None:
        """Starts the machine; `wait_up` waits for it."""
        self.namespace.wait_ready()
        network.plug_in(self.namespace, self._bridge, port=self.name, address=f"{self.address}/24")
        self.set_link(self.link_mbit)
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.folder / "boot.sh").write_text(boot_script(self.name, self.folder))
        self._listening = threading.Event()  # its own: whoever follows the machine before may still set that one's
        machine = ["unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child"]
        inside = self.namespace.enter([*machine, "sh", str(self.folder / "boot.sh")])
        self._machine = subprocess.Popen(
            ["sh", "-c", f"{self._group.join_command()} && exec {shlex.join(inside)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        assert self._machine.stderr is not None
        threading.Thread(target=self._follow, args=(self._machine.stderr, self._listening), daemon=True).start()

    def _follow(self, stderr: IO[str], listening: threading.Event) -> None:
        with stderr:
            for line in stderr:
                self._log.append(line)
                if line.startswith("Server listening on"):
                    listening.set()
        listening.set()  # nothing more will come: whoever waits looks at `is_up`

    def wait_up(self) -> None:
        if not self._listening.wait(BOOT_TIMEOUT_S) or not self.is_up:
            raise HostError(f"{self.name} did not come up:\n{self.log}")

    def boot_again(self) -> None:
        """Raises HostError when it is up: crash it first."""
        if self.is_up:
            raise HostError(f"{self.name} is up")
        self._bridge.ip(f"link delete dev {self.name}")
        self.namespace.end()
        self.namespace = network.Namespace(self._group)
        self.boot()
        self.wait_up()

    def crash(self) -> None:
        assert self._machine is not None
        os.kill(self._outer_pid(1), signal.SIGKILL)
        self.thaw()
        self._machine.wait(timeout=10)

    def power_cut(self) -> None:
        self.unplug()
        self.crash()

    def unplug(self) -> None:
        self._bridge.ip(f"link set dev {self.name} down")

    def plug(self) -> None:
        self._bridge.ip(f"link set dev {self.name} up")

    def block(self, addresses: Sequence[str]) -> None:
        """From now on nothing goes to these addresses."""
        self.namespace.ip(*(f"route add blackhole {address}/32" for address in addresses))

    def unblock(self, addresses: Sequence[str]) -> None:
        self.namespace.ip(*(f"route del blackhole {address}/32" for address in addresses))

    def freeze(self) -> None:
        self._group.set_frozen(True)

    def thaw(self) -> None:
        self._group.set_frozen(False)

    def fill_disk(self) -> None:
        """Not a byte is left; needs a disk of its own."""
        assert self._disk_mib is not None
        with (self.home / "fill").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def free_disk(self) -> None:
        (self.home / "fill").unlink(missing_ok=True)

    def set_quota(self, cores: float | None) -> None:
        """CPU time for all its processes together; None: as much as there is."""
        self._group.set_cores(cores)
        self.cores = cores

    def set_link(self, mbit: float | None) -> None:
        network.limit_speed(self.namespace, self._bridge, port=self.name, mbit=mbit)
        self.link_mbit = mbit

    def restart_sshd(self) -> None:
        """The listener ends and another starts, as after an update; open connections stay."""
        self._listening.clear()
        os.kill(self._outer_pid(int((self.folder / "sshd.pid").read_text())), signal.SIGTERM)
        self.wait_up()

    def processes(self, run: str | None = None) -> list[int]:
        """The live processes here that carry a run's tag (any run's, without one), by their PIDs on this side."""
        wanted = re.compile(rb"(?:^|\0)MOTLEY_RUN=" + (b"" if run is None else re.escape(run.encode()) + rb"(?:\0|$)"))
        return [pid for pid in self._group.pids() if wanted.search(process_file(pid, "environ"))]

    def _outer_pid(self, inner: int) -> int:
        for pid in self._group.pids():
            found = re.search(rb"^NSpid:\s+\d+\s+(\d+)$", process_file(pid, "status"), re.MULTILINE)
            if found and int(found[1]) == inner:
                return pid
        raise HostError(f"{self.name} has no process {inner}; is it up?")

    def reap(self) -> None:
        """After the group's processes were ended."""
        if self._machine is not None:
            self._machine.wait(timeout=10)
        self.namespace.reap()


def boot_script(name: str, folder: Path) -> str:
    """The host's first process: makes the file system its own, then keeps an sshd running.

    The repository and everything under root's home and /tmp are out of sight, so that only what was pushed is there;
    the Python that runs the tests is put back, wherever it lives, with the packages that it finds.
    """
    hidden = _outermost([HOME, REPOSITORY, Path("/tmp"), Path("/run"), Path("/dev/shm")])
    packages = [path for path in sys.path if Path(path).name == "site-packages"]
    pythons = {Path(p) for place in (sys.prefix, sys.base_prefix, *packages) for p in (place, os.path.realpath(place))}
    kept = _outermost([p for p in pythons if any(p.is_relative_to(h) for h in hidden)])
    q = shlex.quote
    here = q(str(folder))
    lines = [
        "set -e",
        f"hostname {q(name)}",
        "mount -t proc proc /proc",
        f"mount --bind {here}/boot_id /proc/sys/kernel/random/boot_id",
        f"mkdir -p {here}/aside/cgroup",
        f"mount --rbind /sys/fs/cgroup {here}/aside/cgroup",
        "mount -t sysfs sysfs /sys",  # the namespace's own network cards
        f"mount --rbind {here}/aside/cgroup /sys/fs/cgroup",
    ]
    for number, path in enumerate(kept):
        lines += [f"mkdir -p {here}/aside/{number}", f"mount --rbind {q(str(path))} {here}/aside/{number}"]
    for path in hidden:
        lines.append(
            f"mount --bind {here}/home {q(str(path))}" if path == HOME else f"mount -t tmpfs tmpfs {q(str(path))}"
        )
    for number, path in enumerate(kept):
        lines += [f"mkdir -p {q(str(path))}", f"mount --rbind {here}/aside/{number} {q(str(path))}"]
    lines += [
        f"mount --bind {here}/hosts /etc/hosts",
        f"mount --bind {here}/shadow /etc/shadow",
        "mkdir -p -m 755 /run/sshd",
        "set +e",
        "while :; do",
        f"  /usr/sbin/sshd -D -e -f {here}/sshd_config & echo $! > {here}/sshd.pid; wait $!",
        "done",
    ]
    return "\n".join(lines) + "\n"


def _outermost(paths: Sequence[Path]) -> list[Path]:
    return sorted(p for p in set(paths) if not any(other != p and p.is_relative_to(other) for other in paths))
