"""Nodes that have nothing of a run: what keeps one of them out costs the others nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from motley.remote.errors import CommandFailed, Finding
from motley.remote.session.placed import lacking_nodes
from tests.remote.session.placed.requeued_nodes import cluster_of
from tests.trainer.coordinating import spec


async def test_each_node_that_lacks_it_has_an_end_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose environment can't be made, and one whose disk is full: the third gets its spec."""
    cluster = cluster_of(tmp_path)
    hosts = {host.name: host for host in cluster.hosts}
    verbs: Any = SimpleNamespace(
        hosts=SimpleNamespace(cluster=cluster, named=hosts.__getitem__, container=lambda _: None)
    )

    async def equipped(_hosts: Any, name: str, _emit: Any) -> Any:
        if name == "fast":
            raise CommandFailed("fast", "no way there", "Look at it.")
        return hosts[name], None

    async def check(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(
            findings=(), probes=dict.fromkeys(["slow-1", "slow-2"], SimpleNamespace(executable="py"))
        )

    async def push_all(*_: Any) -> list[Finding]:
        return [Finding("slow-1", "push", "error", "the disk is full", "Make room.")]

    for name, stand_in in {"equipped": equipped, "check": check, "push_all": push_all}.items():
        monkeypatch.setattr(lacking_nodes, name, stand_in)
    monkeypatch.setattr(lacking_nodes, "check_same", lambda *_, **__: None)
    monkeypatch.setattr(lacking_nodes, "members_of", lambda theirs, *_: (theirs.members, {}))
    knows: Any = None

    specs, failed = await lacking_nodes.specs_of(
        verbs, "night", tmp_path, spec(3), ["fast", "slow-1", "slow-2"], knows=knows, emit=lambda _: None
    )

    assert (list(specs), list(failed)) == (["slow-2"], ["fast", "slow-1"])
    assert "the disk is full" in str(failed["slow-1"])
