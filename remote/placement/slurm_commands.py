"""Slurm's commands as calls: what is asked on the login node of any job, and what it answers.

>>> slurm = SlurmCommands(cluster.slurm)
>>> async with slurm.gate() as gate:
...     components = await slurm.queue(gate)
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from motley.remote.config.cluster import SlurmOptions
from motley.remote.errors import CommandFailed, RunFailed, UsageError
from motley.remote.hosts.login_node import LoginNode, command, login_node
from motley.remote.placement import slurm_accounting, slurm_queue
from motley.remote.placement.slurm_queue import FORMAT, Component, refusal, rows
from motley.remote.ssh.commands import Result
from motley.remote.ssh.dial import Dialer

ASK_S = 30.0  # for Slurm to answer one question
ACCOUNTS_S = 10.0  # from a job's end to the accounts of it
LOOK_S = 1.0  # between two looks


class SlurmCommands:
    """Of one cluster."""

    def __init__(self, options: SlurmOptions) -> None:
        self._options = options

    async def queue(self, gate: LoginNode) -> list[Component]:
        """All of the user's jobs, those that have just ended among them."""
        done = await command(gate, ["squeue", "--me", "--noheader", "-t", "all", "-o", FORMAT], timeout_s=ASK_S)
        if done.code == 127 or (done.code and "not found" in done.stderr):
            raise UsageError(self.missing())
        _check(gate, done, "squeue", whole=True)
        return rows(done.stdout.decode(errors="replace"))

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[LoginNode]:
        """The way to Slurm's commands. Raises a HostError."""
        dialer = Dialer()
        gate = await login_node(self._options, self._options.address or "slurm", dialer)
        try:
            yield gate
        finally:
            await gate.close()
            await dialer.close()

    def missing(self) -> str:
        where = self._options.address or "this machine"
        remedy = "write its login node into cluster.toml: [slurm] address"
        if self._options.address:
            remedy = "[slurm] address must be a login node, where a login shell finds sbatch on its PATH"
        return f"there is no sbatch on {where}: {remedy}"

    async def names(self, gate: LoginNode, nodes: str) -> list[str]:
        done = await command(gate, ["scontrol", "show", "hostnames", nodes], timeout_s=ASK_S)
        return done.stdout.decode(errors="replace").split()

    async def restarts(self, gate: LoginNode, job: str) -> int:
        """How often Slurm has started it once more; 0 where it does not say. Raises a HostError."""
        done = await command(gate, ["scontrol", "-o", "show", "job", job], timeout_s=ASK_S)
        _check(gate, done, "scontrol show job")
        return slurm_queue.restarts(done.stdout.decode(errors="replace"), job)

    async def addresses(self, gate: LoginNode, nodes: Sequence[str]) -> dict[str, str]:
        """Numeric, by node. Raises RunFailed for one whose name leads nowhere, or a HostError."""
        done = await command(gate, ["scontrol", "-o", "show", "node", ",".join(nodes)], timeout_s=ASK_S)
        _check(gate, done, "scontrol show node")
        known = slurm_queue.addresses(done.stdout.decode(errors="replace"))
        found = {}
        for node in nodes:
            address = known.get(node, node)
            if not _is_numeric(address):
                asked = await command(gate, ["getent", "ahosts", address], timeout_s=ASK_S)
                address = next(iter(asked.stdout.decode(errors="replace").split()), "")
            if not _is_numeric(address):
                raise RunFailed(f"the address of node {node} is not known on the login node: getent ahosts {node}")
            found[node] = address
        return found

    async def accounts(self, gate: LoginNode, job: str) -> tuple[list[dict[str, Any]], str]:
        """What sacct has of a job that has ended, by component; or why there is nothing. Raises a HostError."""
        ends = asyncio.get_running_loop().time() + ACCOUNTS_S
        while True:
            done = await command(gate, slurm_accounting.argv(job), timeout_s=ASK_S)
            if done.code:
                off = slurm_accounting.is_off(done.stderr)
                return [], "the cluster keeps no accounts" if off else refusal(done.stderr)[0]
            found = slurm_accounting.figures(done.stdout.decode(errors="replace"))
            if slurm_accounting.is_settled(found) or asyncio.get_running_loop().time() > ends:
                return found, "" if found else "it knows no such job"
            await asyncio.sleep(LOOK_S)


def _check(gate: LoginNode, done: Result, what: str, *, whole: bool = False) -> None:
    """Raises CommandFailed where there is no answer, or none that is `whole`: it would be taken for one of somebody who
    knows of nothing."""
    if done.code and (whole or not done.stdout.strip()):
        cause, remedy = refusal(done.stderr)
        raise CommandFailed(gate.host.name, f"{what} failed: {cause}", remedy)


def _is_numeric(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
