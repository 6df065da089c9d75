"""A real Slurm over hosts of the lab: slurmctld on the master, a slurmd in each host, two partitions. Needs root.

    with Slurm({"fast1": 0.8, "fast2": 0.8, "slow1": 0.4}) as slurm:
        slurm.exec(["sinfo"])
        slurm.lab["fast2"].power_cut()

A partition has the hosts whose names begin with its own: fast1 and fast2 are in `fast`. Those of the first one are in
`urgent`, too, whose jobs take the nodes from others. One munged serves all hosts.
It ends with the lab: every process is in the lab's control groups.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tests.lab.lab import MASTER, Lab
from tests.lab.lab import why_not as why_no_lab

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
URGENT = "urgent"
UP_S = 60.0
POLL_S = 0.1
CONFIGURATION = """\
ClusterName=motley
SlurmctldHost={name}({master})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,defer
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
"""
CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"


def why_not() -> str | None:
    """Why there can be no Slurm here, with the remedy; None when there can."""
    missing = [command for command in COMMANDS if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"a real Slurm needs {', '.join(missing)}: apt install slurm-wlm munge"
    return why_no_lab()


class Slurm:
    def __init__(self, hosts: Mapping[str, float | None], *, binds: bool = True) -> None:
        """`hosts` gives each name its cores; None is no bound. `binds`: nodes keep a job on those CPUs of the machine
        that they gave it; all nodes give away the same ones then, and a job has these alone for all its ranks."""
        self._binds = binds
        self.lab = Lab(hosts)
        self.folder = self.lab.folder / "slurm"
        self._controller: subprocess.Popen[str] | None = None

    def __enter__(self) -> Slurm:
        self.lab.start()
        try:
            self._start()
        except BaseException as error:
            error.args = (f"{error}\n{self.logs}",)
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self.lab.close()
        if self._controller is not None:
            self._controller.wait(timeout=10)

    @property
    def env(self) -> dict[str, str]:
        """The lab's, in which Slurm's commands find this one."""
        return {**self.lab.env, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def exec(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a command on the master to its end, standard input empty."""
        return subprocess.run(
            self.lab.command(argv), env=self.env, cwd=self.lab.home, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        return self.lab.popen(argv, **{"env": self.env, **options})

    def until(self, what: str, argv: Sequence[str], wanted: str, *, within_s: float = UP_S) -> None:
        """Waits until a command prints this. Raises TimeoutError with what it printed last."""
        ends = time.monotonic() + within_s
        said = ""
        while time.monotonic() < ends:
            done = self.exec(argv)
            said = (done.stdout + done.stderr).strip()
            if said == wanted:
                return
            time.sleep(POLL_S)
        raise TimeoutError(f"{what}: {said or 'nothing'}")

    @property
    def logs(self) -> str:
        """What the daemons have said last."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in files)

    def nodes_up(self) -> None:
        """Until no node is in use, or lost."""
        idle = "\n".join(f"{name} idle" for name in sorted(self.lab.hosts))
        partitions = ",".join({_partition(name): None for name in self.lab.hosts})  # a node is told in each of its own
        words = ["sinfo", "-hN", "-S", "N", "-p", partitions, "-o", "%n %t"]
        self.until("the nodes are not idle", words, idle)

    @property
    def python(self) -> str:
        """Of the nodes: that of the tests."""
        return sys.executable

    def occupy(self, partition: str, *, nodes: int) -> str:
        """The number of a job of somebody else's, which has these nodes until `mend`."""
        words = ["-p", partition, f"--nodes={nodes}", "--exclusive", "--time=20", "--wrap", "sleep 1000"]
        done = self.exec(["sbatch", "--parsable", "--output=/dev/null", *words])
        job = done.stdout.strip()
        self.until("the job does not run", ["squeue", "-h", "-j", job, "-o", "%t"], "R")
        return job

    def mend(self) -> None:
        """After a test: no job, every node up."""
        self.exec(["scancel", "--user=root"])
        self.until("jobs are left", ["squeue", "-h"], "")
        for name, host in self.lab.hosts.items():
            if not host.is_up:
                self.lab.bring_back(name)
                self.start_node(name)
        self.nodes_up()

    def start_node(self, name: str) -> None:
        """The slurmd of a host that has booted."""
        words = [
            "env",
            f"SLURM_CONF={self.folder}/slurm.conf",
            shutil.which("slurmd", path="/usr/sbin") or "",
            "-N",
            name,
        ]
        done = self.lab.ssh(name, " ".join(words))
        assert done.returncode == 0, done.stderr

    def _start(self) -> None:
        self.folder.mkdir(mode=0o755)
        (self.folder / "state").mkdir()
        (self.folder / "cgroup.conf").write_text(CGROUPS)
        (self.folder / "slurm.conf").write_text(self._configuration())
        self._start_munge()
        for host in self.lab.hosts.values():
            (host.home / ".profile").write_text(f"export SLURM_CONF={self.folder}/slurm.conf\n")
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._controller = self.popen(["slurmctld", "-D"], **quiet)
        for name in self.lab.hosts:
            self.start_node(name)
        self.nodes_up()

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        names = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "socket": "socket"}
        options = [f"--{option}={self.folder}/munge.{end}" for option, end in names.items()]
        done = self.exec(["munged", "--force", *options])
        assert done.returncode == 0, done.stderr

    def _configuration(self) -> str:
        nodes = [
            f"NodeName={host.name} NodeAddr={host.address} NodeHostname={host.name} CPUs=2 CpuBind=core State=UNKNOWN"
            for host in self.lab.hosts.values()
        ]
        classes: dict[str, list[str]] = {}
        for name in self.lab.hosts:
            classes.setdefault(_partition(name), []).append(name)
        partitions = [
            f"PartitionName={name} Nodes={','.join(of)} MaxTime=60 PriorityTier=1 State=UP"
            for name, of in classes.items()
        ]
        first = next(iter(classes.values()))
        partitions.append(f"PartitionName={URGENT} Nodes={','.join(first)} MaxTime=60 PriorityTier=10 State=UP")
        head = CONFIGURATION.format(
            name=socket.gethostname().partition(".")[0], master=MASTER, folder=self.folder,
            task_plugin="task/affinity" if self._binds else "task/none",
        )  # fmt: skip
        return "\n".join([head, *nodes, *partitions, ""])


def _partition(name: str) -> str:
    return name.rstrip("0123456789")
