"""`[slurm]` of cluster.toml: a job whose nodes are the hosts."""

from __future__ import annotations

from dataclasses import dataclass

from motley.remote.config import value_rules
from motley.trainer.contract.spec import option


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmKeys:
    """`[slurm]`: with `connect = "slurm"`, where `sbatch` is, and what holds for the whole job."""

    address: str | None = option(
        None, "login node, reached over SSH; by default this machine is one", check=value_rules.address_problem
    )
    user: str | None = option(None, "user there; by default what ~/.ssh/config says", check=value_rules.user_problem)
    port: int | None = option(None, "of its SSH server; by default what ~/.ssh/config says, else 22", ge=1, le=65535)
    identity: str | None = option(
        None, "private key file, from the folder of cluster.toml; by default ssh's own", check=value_rules.path_problem
    )
    jump: str | None = option(
        None, "hosts to go through, as in ssh -J: [user@]address[:port]", check=value_rules.jump_problem
    )
    time: str | None = option(
        None,
        'how long it may take, as sbatch has it: "90" minutes, "2:30:00", "1-12"; by default the partition\'s limit',
        check=value_rules.slurm_problem,
    )
    account: str | None = option(None, "that the job is charged to", check=value_rules.slurm_problem)
    qos: str | None = option(None, "quality of service", check=value_rules.slurm_problem)
    warning_s: int = option(
        120, "seconds before its time is over that a checkpoint is written; 0: none is", ge=0, le=86400
    )
    requeue: bool = option(
        False,
        "true: when its time is over, or others take its nodes, it is queued again and the run goes on; for tasks",
    )
    sbatch: tuple[str, ...] = option(
        (), 'further options for all nodes, one in each text, such as "--exclusive"', check=value_rules.sbatch_problem
    )
