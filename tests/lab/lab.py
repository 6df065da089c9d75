"""A lab of real hosts on one machine: network namespaces, real sshd, CPU quotas, cables that can be pulled. Needs root.

    with Lab({"box1": 0.8, "box2": 0.2}) as lab:
        cluster = lab.cluster_toml(tmp_path, run={"task": "simple_cnn/digits"})
        done = lab.exec(lab.motley("run", "-c", str(cluster), "--plain"), timeout_s=120)
        lab["box2"].crash()

The master is a namespace too, with a home of its own that holds a key, known_hosts and an ssh configuration.
Nothing of the lab is visible in the machine's own network. Its control groups and its folder bear its name, which
says who made it (pid and start time), so a lab whose maker was killed is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import network
from tests.lab.cgroup import Cgroup, CgroupError, find_trees
from tests.lab.host import REPOSITORY, LabHost

FOUR_HOSTS: Mapping[str, float | None] = {"box1": 0.8, "box2": 0.4, "box3": 0.2, "box4": 0.2}
FOLDERS = Path("/var/tmp/motley-lab")
PREFIX = "motley-lab-"
MASTER = "10.77.0.1"
COMMANDS = ("ip", "tc", "nsenter", "unshare", "ssh", "ssh-keygen", "/usr/sbin/sshd")
_numbers = itertools.count(1)


class LabError(RuntimeError):
    """The lab can't be cleared away safely."""


def why_not() -> str | None:
    """Why there can be no lab on this machine, with the remedy; None when there can."""
    if sys.platform != "linux":
        return "the lab of real hosts needs Linux"
    if os.geteuid() != 0:
        return "the lab of real hosts needs root: run the tests as root, or in a virtual machine"
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        return f"the lab of real hosts needs {', '.join(missing)}: apt install openssh-server iproute2"
    trial = ["unshare", "--net", "--uts", "--pid", "--mount", "--fork", "--kill-child", "ip", "link", "set", "lo", "up"]
    tried = subprocess.run(trial, capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode != 0:
        return f"the lab of real hosts needs namespaces, which this machine refuses: {tried.stderr.strip()}"
    try:
        find_trees()
    except CgroupError as error:
        return f"the lab of real hosts needs CPU quotas: {error}"
    return None


class Lab:
    def __init__(self, hosts: Mapping[str, float | None] = FOUR_HOSTS, *, disk_mib: int | None = None) -> None:
        """`hosts` gives each name its cores; None is no bound. `disk_mib`: the size of the disk that its home is on."""
        self._disk_mib = disk_mib
        self.name = f"{PREFIX}{os.getpid()}-{_start_ticks(os.getpid())}-{next(_numbers)}"
        self.folder = FOLDERS / self.name
        self.home = self.folder / "master"
        self.hosts: dict[str, LabHost] = {}
        self._wanted = dict(hosts)
        self._namespaces: list[network.Namespace] = []

    def __getitem__(self, host: str) -> LabHost:
        return self.hosts[host]

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Brings all hosts up, about a second for four. When it fails half-way, nothing stays."""
        sweep()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        with alone():
            self.home.mkdir(parents=True)
        self._group = Cgroup.create(f"{self.name}.master")
        self._bridge, self._master = network.Namespace(self._group), network.Namespace(self._group)
        self._namespaces = [self._bridge, self._master]
        for number, (name, cores) in enumerate(self._wanted.items(), start=11):
            group = Cgroup.create(f"{self.name}.{name}")
            folder = self.folder / name
            host = LabHost(name, f"10.77.0.{number}", folder, group, self._bridge, disk_mib=self._disk_mib)
            host.cores = cores
            self.hosts[name] = host
        for namespace in self._namespaces:
            namespace.wait_ready()
        network.make_switch(self._bridge)
        network.plug_in(self._master, self._bridge, port="master", address=f"{MASTER}/24")
        public_key = self._make_key()
        for host in self.hosts.values():
            host.prepare_disk(public_key, [other for other in self.hosts.values() if other is not host])
            host.boot()
        self._write_ssh_config()
        for host in self.hosts.values():
            host.wait_up()
            host.set_quota(host.cores)  # from here on: the boot itself need not be slow

    def _make_key(self) -> str:
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "master", "-f", str(ssh / "id_ed25519")]
        subprocess.run(key, check=True, stdin=subprocess.DEVNULL)
        return (ssh / "id_ed25519.pub").read_text()

    def _write_ssh_config(self) -> None:
        ssh = self.home / ".ssh"
        known = "".join(f"{host.address},{host.name} {host.public_host_key}\n" for host in self.hosts.values())
        (ssh / "known_hosts").write_text(known)
        blocks = [f"Host {host.name}\n  HostName {host.address}\n" for host in self.hosts.values()]
        common = f"Host *\n  User root\n  IdentityFile {ssh}/id_ed25519\n  UserKnownHostsFile {ssh}/known_hosts\n"
        (ssh / "config").write_text("".join([*blocks, common]))

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything the master runs: nothing of the test's own but the path."""
        return {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on the master; for asyncio.create_subprocess_exec, with `env`."""
        return ["sh", "-c", f"{self._group.join_command()} && exec {shlex.join(self._master.enter(argv))}"]

    def motley(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "motley.console", *words]

    def exec(
        self, argv: Sequence[str], *, timeout_s: float = 60.0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the master to its end, standard input empty."""
        return subprocess.run(
            self.command(argv),
            env=self.env,
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command on the master; its signals and its end are the command's own. Takes Popen's options."""
        return subprocess.Popen(self.command(argv), **{"env": self.env, "cwd": self.home, "text": True, **options})

    def ssh(self, host: str, command: str, *, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """OpenSSH's client on the master: `command` in the host's login shell."""
        return self.exec(self.ssh_command(host, command), timeout_s=timeout_s)

    def ssh_command(self, host: str, command: str) -> list[str]:
        return ["ssh", "-F", str(self.home / ".ssh" / "config"), "-o", "BatchMode=yes", host, command]

    def cluster_toml(
        self, folder: Path, *, hosts: Sequence[str] = (), extra: str = "", **sections: Mapping[str, Any]
    ) -> Path:
        """Writes a cluster.toml of these hosts (all, without `hosts`) and sections such as `run={"steps": 50}`."""
        chosen = [self.hosts[name] for name in hosts] or list(self.hosts.values())
        tables: list[tuple[str, Mapping[str, Any]]] = [("[cluster]", {"name": "lab", **sections.get("cluster", {})})]
        tables += [("[[hosts]]", {"name": h.name, "address": h.address, "python": sys.executable}) for h in chosen]
        tables += [(f"[{name}]", table) for name, table in sections.items() if name != "cluster"]
        blocks = [
            "\n".join([head, *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
            for head, table in tables
        ]
        path = folder / "cluster.toml"
        path.write_text("\n\n".join([*blocks, extra]) + "\n")
        return path

    def heal(self) -> None:
        """After a test that broke something: every host up, plugged in, thawed, at its own speed, without a run."""
        for host in self.hosts.values():
            host.thaw()
            host.free_disk()
            for pid in host.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.bring_back(host.name)
            host.set_link(None)
            host.set_quota(self._wanted[host.name])
        self.plug_master()

    def bring_back(self, name: str) -> None:
        """A host that was frozen, unplugged or without power; what still runs there goes on."""
        host = self.hosts[name]
        host.thaw()
        if not host.is_up:
            host.link_mbit = None
            host.boot_again()
        host.plug()
        for peer in (self._master, *(other.namespace for other in self.hosts.values() if other is not host)):
            network.forget(peer, host.address)

    def cut_in_two(self, half: Collection[str]) -> None:
        """These hosts see each other and nobody else, the master stays with the others; until `join_again`."""
        for host, beyond in self._across(half):
            host.block(beyond)

    def join_again(self, half: Collection[str]) -> None:
        for host, beyond in self._across(half):
            host.unblock(beyond)

    def _across(self, half: Collection[str]) -> Iterator[tuple[LabHost, list[str]]]:
        """Every host, and the addresses on the other side of the cut."""
        for name, host in self.hosts.items():
            beyond = [other.address for other in self.hosts.values() if (other.name in half) != (name in half)]
            yield host, [*beyond, MASTER] if name in half else beyond

    def unplug_master(self) -> None:
        self._bridge.ip("link set dev master down")

    def plug_master(self) -> None:
        self._bridge.ip("link set dev master up")

    def close(self) -> None:
        """Ends every process of the lab, and with them its namespaces and mounts; removes its groups and its folder."""
        remove(self.name)
        with alone():
            _last_one_out()
        for host in self.hosts.values():
            host.reap()
        for namespace in self._namespaces:
            namespace.reap()


def remove(name: str) -> None:
    """Removes what bears a lab's name, whoever made it and however far they came. Raises LabError when it can't."""
    for group in Cgroup.named_like(f"{name}."):
        group.remove()
    folder = FOLDERS / name
    for home in re.findall(rf" ({re.escape(str(folder))}/[^/ ]+/home) ", Path("/proc/self/mountinfo").read_text()):
        subprocess.run(["umount", home], check=True)
    if f" {folder}/" in Path("/proc/self/mountinfo").read_text():
        raise LabError(f"something is mounted under {folder}; unmount it by hand before the folder is removed")
    shutil.rmtree(folder, ignore_errors=not folder.exists())


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Nobody else on this machine, such as a second process of the same tests, makes or removes FOLDERS meanwhile, or
    what is left of labs."""
    folder = os.open(FOLDERS.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def sweep() -> list[str]:
    """Removes the labs whose makers are gone; returns their names."""
    with alone():
        return remove_orphans()


def remove_orphans() -> list[str]:
    """As `sweep`, for who is alone."""
    gone = []
    for name in sorted(set(_known_names())):
        found = re.fullmatch(rf"({PREFIX}(\d+)-(\d+)-\d+)", name)
        if found and _start_ticks(int(found[2])) != int(found[3]):
            remove(found[1])
            gone.append(found[1])
    _last_one_out()
    return gone


def _last_one_out() -> None:
    with contextlib.suppress(OSError):
        FOLDERS.rmdir()


def _known_names() -> Iterator[str]:
    yield from (group.name.partition(".")[0] for group in Cgroup.named_like(PREFIX))
    if FOLDERS.exists():
        yield from (path.name for path in FOLDERS.iterdir())


def _start_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot; None when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None
