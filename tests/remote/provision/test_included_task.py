"""A task that comes with Motley and has parameters reaches the hosts without a project, and may share them with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.launch.warm_restart import _why_not_there
from motley.remote.provision.project import project_of
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions, Spec
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.host.paths import project_folder
from motley.trainer.verbs.rerun import why_cold

TOML = '[[hosts]]\nname = "box1"\n[run]\ntask = "causal_lm"\n[task]\nmodel = "gpt2"\ntrain = "rows.jsonl"\n'
OWN = OwnTask(
    tree="", module="motley.trainer.llm.causal_lm", name="CausalLM",
    parameters={"model": "gpt2", "train": "rows.jsonl"},
)  # fmt: skip


def spec(own: OwnTask | None) -> Spec:
    return Spec(
        run="night", host="box1", token="f" * 64, leader="box1", leader_address="127.0.0.1", port=1, members=(),
        options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={},
        own_task=own,
    )  # fmt: skip


def test_no_files_go_along(tmp_path: Path) -> None:
    config = tmp_path / "cluster.toml"
    config.write_text(TOML)
    tree, user_code = project_of(load(config))
    assert tree is None
    assert user_code is not None
    assert (user_code.tree, user_code.own_task, user_code.own_policy) == ("", OWN, None)
    assert spec(OWN).project_tree == ""
    assert Spec.from_json(spec(OWN).to_json()).own_task == OWN
    with pytest.raises(ValueError, match="not a name"):
        project_folder("")  # nobody may ask where it is
    assert _why_not_there(user_code, spec(None)) == ""


def test_a_policy_of_the_user_s_own_has_a_project_beside_it(tmp_path: Path) -> None:
    config = tmp_path / "cluster.toml"
    (tmp_path / "mine.py").write_text("def shares(ranks, batch):\n    return []\n")
    config.write_text(TOML + '[balance]\npolicy = "mine.py"\n')
    tree, user_code = project_of(load(config))
    assert tree is not None
    assert user_code is not None
    assert user_code.own_policy is not None
    assert (user_code.tree, user_code.own_task, user_code.own_policy.tree) == (tree.hash, OWN, tree.hash)


def test_other_parameters_are_no_reason_for_a_cold_restart() -> None:
    """Of a project's task they are: the files are looked at together with them."""
    state = {"state": "running"}
    old, new = spec(None), spec(OWN)
    reason = why_cold(old, new, state, None, None)  # type: ignore[arg-type]
    assert reason == "the process that has torch imported is not there"  # the next thing that is asked
