"""Whether a host has room for a run and lets it live: pure. `remote.preflight.judge` calls it for each host."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Literal

from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.value_rules import name_problem
from motley.remote.errors import Finding
from motley.remote.preflight.probe import Probe
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import motley, there
from motley.trainer.contract import mount
from motley.trainer.contract.task_name import IMAGE_FOLDER

LEAST_DISK_MIB = 200  # the trainer, a few checkpoints of a small model, logs
LITTLE_DISK_MIB = 1024
LEAST_MEMORY_MIB = 256  # torch alone takes as much in each rank
LITTLE_MEMORY_MIB = 1024
CLOCK_S = 2.0
FILES = 256  # of a rank with its data, without its peers
FILES_A_HOST = 8
LEAST_THREADS = 32
_BIGGEST = "ps -eo user,pid,rss,args --sort=-rss | head"
_FULL = "du -xsh ~/.[!.]* ~/* 2>/dev/null | sort -h | tail"


def upkeep(cluster: Cluster, host: Host, probe: Probe) -> Iterator[Finding]:
    yield from _room(host, probe)
    yield from _data(cluster, host, probe)
    yield from _folders(host, probe)
    yield from _command(cluster, host, probe)
    yield from _limits(cluster, host, probe)
    if probe.ends_with_login:
        cause = "systemd ends all processes of a user at the last logout (KillUserProcesses): a run with the console"
        linger = there(host, f"sudo loginctl enable-linger {shlex.quote(probe.user)}")
        yield Finding(host.name, "login", "warning", cause, f"Let them stay: {linger}")
    for left in probe.leftovers:
        count = f"{len(left.pids)} process{'es' * (len(left.pids) != 1)}"
        work = f"run '{left.run}' is at work there ({count}): a second one would share the machine with it"
        cause = work if left.supervised else f"run '{left.run}' left {count} there that nobody looks after"
        stop = motley(cluster, "stop", left.run)
        if left.host != host.name or name_problem(left.run):  # of another cluster.toml, or of nothing of ours
            stop = there(host, f"kill {' '.join(map(str, left.pids))}")
        yield Finding(host.name, "leftovers", "warning", cause, f"End it: {stop}")
    if abs(probe.clock_ahead_s) > CLOCK_S:
        side = "ahead of" if probe.clock_ahead_s > 0 else "behind"
        cause = f"its clock is {abs(probe.clock_ahead_s):,.0f} s {side} this machine's: times in logs will not agree"
        remedy = f"Set the one that is wrong by the network: {there(host, 'sudo timedatectl set-ntp true')}"
        yield Finding(host.name, "clock", "warning", cause, remedy)


def _room(host: Host, probe: Probe) -> Iterator[Finding]:
    full = probe.disk_free_mib < LEAST_DISK_MIB
    if probe.unwritable and not (full and "No space" in probe.unwritable):
        cause = f"~/.motley can't be written: {probe.unwritable}"
        yield Finding(host.name, "write", "error", cause, _make_writable(host, probe))
    if probe.disk_free_mib < LITTLE_DISK_MIB:
        cause = f"only {probe.disk_free_mib} MiB are free for {probe.home}/.motley"
        yield Finding(host.name, "disk", _level(full), cause, f"See what takes the room: {there(host, _FULL)}")
    memory = probe.memory_available_mib
    if memory is not None and memory < LITTLE_MEMORY_MIB:
        cause = f"only {memory} MiB of its {probe.memory_mib} MiB of memory are available"
        level = _level(memory < LEAST_MEMORY_MIB)
        yield Finding(host.name, "memory", level, cause, f"See what takes it: {there(host, _BIGGEST)}")


def _make_writable(host: Host, probe: Probe) -> str:
    if "exists" in probe.unwritable:
        return f"Something else has that name; move it away: {there(host, 'mv ~/.motley ~/motley.old')}"
    if "Read-only" in probe.unwritable:
        mount = 'sudo mount -o remount,rw "$(findmnt -no TARGET -T ~/.motley)"'
        return f"Mount it writable, if its disk is sound: {there(host, mount)}"
    if "No space" in probe.unwritable or "quota" in probe.unwritable:
        return f"See what is used up, bytes, files or a quota: {there(host, 'df -h ~; df -i ~; quota -s')}"
    own = "sudo mkdir -p ~/.motley && sudo chown $(id -u) ~ ~/.motley && chmod u+rwx ~ ~/.motley"
    return f"Make the home folder the user's own: {there(host, own)}"


def _data(cluster: Cluster, host: Host, probe: Probe) -> Iterator[Finding]:
    if not probe.data_missing:
        return
    pictures = cluster.dataset == IMAGE_FOLDER  # nobody else has them
    lost = not probe.data_elsewhere and (pictures or not cluster.data.download)
    instead = "it will be downloaded there" if cluster.dataset else "your task finds none there"
    then = "" if probe.data_elsewhere or pictures else ", and [data] download is off" if lost else f": {instead}"
    look = there(host, pasteable(["ls", "-ld", str(cluster.data.path)]))
    remedy = f"Put the files there, or correct path under [data] in cluster.toml: {look}"
    yield Finding(host.name, "data", _level(lost), f"[data] path is not to be had, {probe.data_missing}{then}", remedy)


def to_be_there(mounts: Iterable[str]) -> tuple[str, ...]:
    """Of `[environment] mounts` the folders that have to be there: one of the home folder to write to is made."""
    folders = map(mount.parse, mounts)
    return tuple(one.source for one in folders if not (one.writable and one.source.startswith("~/")))


def _folders(host: Host, probe: Probe) -> Iterator[Finding]:
    for folder in probe.folders_missing:
        cause = f"[environment] mounts: there is no folder {folder}"
        place = "~/" + shlex.quote(folder[2:]) if folder.startswith("~/") else shlex.quote(folder)
        look = there(host, f"ls -ld {place}")
        yield Finding(host.name, "container", "error", cause, f"Make it, or name another one: {look}")


def _command(cluster: Cluster, host: Host, probe: Probe) -> Iterator[Finding]:
    if not probe.command_missing or not cluster.run.command:
        return
    program = cluster.run.command[0]
    cause = f"[run] command: there is no {program} in {probe.command_missing}"
    if host.requirements is not None:
        remedy = f"If {host.requirements} installs it, it will be there once a run has made the environment."
        yield Finding(host.name, "script", "warning", cause, remedy)
        return
    install = there(host, pasteable([probe.executable, "-m", "pip", "install", program]))
    remedy = f"Install it there, if that is its name: {install}; or give the host an env with PATH, or mend the command"
    yield Finding(host.name, "script", "error", cause, remedy)


def _limits(cluster: Cluster, host: Host, probe: Probe) -> Iterator[Finding]:
    wanted = FILES + FILES_A_HOST * len(cluster.hosts)
    if probe.open_files is not None and probe.open_files < wanted:
        cause = f"a process may have {probe.open_files} files and connections open; training may need {wanted}"
        yield Finding(host.name, "limits", "warning", cause, _raise(host, probe, "nofile"))
    left, wanted = probe.processes_left, LEAST_THREADS * 2 + 2 * probe.cores
    if left is not None and left < wanted:
        cause = f"{probe.user} may start only {left} more processes and threads; training may need {wanted}"
        yield Finding(host.name, "limits", _level(left < LEAST_THREADS), cause, _raise(host, probe, "nproc"))


def _raise(host: Host, probe: Probe, what: str) -> str:
    line = shlex.quote(f"{probe.user} - {what} 65536")
    command = f"printf '%s\\n' {line} | sudo tee /etc/security/limits.d/motley-{what}.conf"
    return f"Raise the limit; it holds from the next login: {there(host, command)}"


def _level(is_error: bool) -> Literal["error", "warning"]:
    return "error" if is_error else "warning"
