"""A run with a balancing policy of the user's own, on demo hosts whose ranks train nothing: what hosts are given."""

from __future__ import annotations

import json
from typing import Any

from motley.remote.config.load import load
from motley.remote.feed import Layout
from tests.remote.stage import HOSTS, Seen, Stage


def told(stage: Stage, run: str, host: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((stage.run_folder(run, host) / "spec.json").read_bytes())
    return table


async def test_every_host_gets_its_project_also_one_that_joins_and_a_change_of_it_is_noticed(stage: Stage) -> None:
    (stage.folder / "rules").mkdir()
    mine = stage.folder / "rules/mine.py"
    mine.write_text("def shares(costs, global_batch, now): return now\n")
    stage.cluster(hosts={**HOSTS, "box2": ""})
    path, more = stage.folder / "cluster.toml", ["balance.policy=rules/mine.py"]
    session = stage.session("night", seen := Seen(), load(path, more, only=list(HOSTS)))
    await session.launch()
    await seen.further(5)
    await session.join("box2")
    for host in (*HOSTS, "box2"):
        spec = told(stage, "night", host)
        tree = spec["own_policy"].pop("tree")
        assert spec["own_policy"] == {"file": "mine.py", "module": "", "name": "shares"}
        assert (spec["balance"]["policy"], spec["own_task"]) == ("rules/mine.py", None)
        code = stage.run_folder("night", host).parents[2] / "code" / tree
        assert (code / "mine.py").read_text() == mine.read_text()
    layouts = [record for record in seen.records if isinstance(record, Layout)]
    assert {layout.policy for layout in layouts} == {"rules/mine.py"}
    mine.write_text("def shares(costs, global_batch, now): return [0, 0, 0]\n")
    other = stage.session("day", Seen(), load(path, more, only=list(HOSTS)))
    assert await other.take_over(session, resume=None) == "your policy's files have changed"
    assert (await session.stop("enough")).unanswered == ()
    assert stage.alive() == []
