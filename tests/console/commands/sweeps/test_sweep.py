"""A sweep: which runs it has, what it makes of those that are there, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motley.console.commands.sweeps.sweep import Wanted, sweep
from motley.console.commands.sweeps.sweep_plan import MOST_RUNS, name_of, settings_of
from motley.console.control.session_protocol import Outcome
from motley.remote.config.load import load
from motley.remote.errors import CheckFailed, ConfigError, Finding, UsageError
from tests.console.report.experiments import group, step, summary, write

TOML = '[[hosts]]\nname = "box1"\n[run]\ntask = "mlp/digits"\nepochs = 2\n'
RATES = ("run.learning_rate=0.1,0.03",)


class Made:
    """In place of hosts: each run's folder is written as a console leaves it, with the end that is next in `ends`."""

    def __init__(self, config: Path, *ends: str) -> None:
        self.config, self.ends = config, list(ends)
        self.plans: list[tuple[str, str | None, bool]] = []

    def __call__(self, wanted: Wanted) -> Outcome:
        name, overrides = wanted.name, wanted.settings
        wanted.plan()
        self.plans.append((name, wanted.resume, wanted.attach))
        folder, state = self.config.parent / "experiments" / name, self.ends.pop(0) if self.ends else "finished"
        if state == "refused":
            raise CheckFailed([Finding("box1", "ssh", "error", "does not answer", "switch it on")])
        if state == "unknown":
            raise UsageError("no host knows it")
        begun = state != "ended at its start"
        state = state if begun else "stopped"
        told = None if state == "left" else summary(state=state, steps=5 if begun else 0)
        if folder.exists():
            (folder / "summary.json").write_text(json.dumps(told))
        else:
            cluster = load(self.config, overrides)
            lines = [line for number in range(1, 6) for line in step(number)]
            write(folder, [group()], lines, told=told, toml=cluster.text)
        code = {"finished": 0, "stopped": 4, "left": 0}.get(state, 1)
        return Outcome(code=code, data={"state": "running" if state == "left" else state}, text=f"{name} {state}")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text(TOML)
    return path


def swept(config: Path, made: Made, *sets: str, name: str | None = "rates") -> int:
    return sweep(config, sets or RATES, name=name, only=(), by="step", html=None, json=True, watch=made)


def test_every_value_with_every_value_of_the_others() -> None:
    assert settings_of(["run.learning_rate=0.1, 0.03", "run.seed=1", 'run.args=["a,b"],[1,2]']) == [
        ("run.learning_rate=0.1", "run.seed=1", 'run.args=["a,b"]'),
        ("run.learning_rate=0.1", "run.seed=1", "run.args=[1,2]"),
        ("run.learning_rate=0.03", "run.seed=1", 'run.args=["a,b"]'),
        ("run.learning_rate=0.03", "run.seed=1", "run.args=[1,2]"),
    ]
    assert name_of(settings_of(RATES)) == name_of(settings_of(RATES)) != name_of(settings_of(["run.seed=1,2"]))


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["run.learning_rate"], "is not KEY=VALUE,VALUE"),
        (["run.learning_rate=0.1,,0.03"], "is not KEY=VALUE,VALUE"),
        (["=1,2"], "is not KEY=VALUE,VALUE"),
        (["run.seed=1", "run.seed=2"], "run.seed is given twice"),
        (["run.seed=1,1"], "has a value twice"),
        (["run.seed=1"], "two runs or more"),
        ([f"run.seed={','.join(map(str, range(MOST_RUNS + 1)))}"], "at most 200"),
    ],
)
def test_words_that_are_no_sweep(sets: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings_of(sets)


@pytest.mark.parametrize("wrong", ["run.learning_rat=0.1,0.03", "run.epochs=3,many", "hosts.box9.python=a,b"])
def test_a_key_or_a_value_that_is_wrong_is_named_before_the_first_run(wrong: str, config: Path) -> None:
    made = Made(config)
    with pytest.raises(ConfigError, match=wrong.partition("=")[0].rpartition(".")[2]):
        swept(config, made, wrong)
    assert made.plans == []


def test_without_hosts_nothing_begins(config: Path) -> None:
    config.write_text('[run]\ntask = "mlp/digits"\n')
    made = Made(config)
    with pytest.raises(ConfigError, match="hosts"):
        swept(config, made)
    assert made.plans == []


def test_runs_are_made_one_after_the_other_and_compared(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Made(config)
    assert swept(config, made) == 0
    assert made.plans == [("rates-1", None, False), ("rates-2", None, False)]
    out, err = capsys.readouterr()
    compared = json.loads(out)
    assert compared["names"] == ["rates-1", "rates-2"]
    assert [row["key"] for row in compared["settings"]] == ["run.learning_rate"]
    assert "run 2 of 2, run.learning_rate=0.03" in err
    assert swept(config, made) == 0
    assert len(made.plans) == 2
    assert "rates-1 has finished already" in capsys.readouterr().err


def test_one_that_was_stopped_ends_it_and_the_same_command_goes_on(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(config, "finished", "stopped", "finished")
    assert swept(config, made) == 4
    assert "1 of 2 runs finished: the same command goes on with what is missing" in capsys.readouterr().err
    assert swept(config, made) == 0
    assert made.plans == [("rates-1", None, False), ("rates-2", None, False), ("rates-2-r2", "rates-2", False)]
    assert json.loads(capsys.readouterr().out)["names"] == ["rates-1", "rates-2-r2"]


def test_it_goes_on_from_the_newest_that_came_to_anything(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Made(config, "stopped", "ended at its start", "finished", "finished")
    assert swept(config, made) == 4
    assert swept(config, made) == 4
    assert swept(config, made) == 0
    assert made.plans[:3] == [
        ("rates-1", None, False),
        ("rates-1-r2", "rates-1", False),
        ("rates-1-r3", "rates-1", False),
    ]
    left = Made(config, "left", "unknown", "finished", "finished")
    assert swept(config, left, name="other") == 4
    checkpoints = config.parent / "experiments/other-1/checkpoints"
    checkpoints.mkdir(exist_ok=True)
    (checkpoints / "stop.pt").touch()
    assert swept(config, left, name="other") == 0
    assert left.plans[1:3] == [("other-1", None, True), ("other-1-r2", "other-1", False)]
    assert (
        "other-1 can't be gone on with (no host knows it): other-1-r2 goes on from other-1" in capsys.readouterr().err
    )


def test_one_that_failed_does_not_keep_the_others_from_being_made(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(config, "failed")
    assert swept(config, made, "run.learning_rate=0.1,0.03,0.01") == 1
    assert [name for name, *_ in made.plans] == ["rates-1", "rates-2", "rates-3"]
    assert json.loads(capsys.readouterr().out)["names"] == ["rates-2", "rates-3"]


def test_one_that_was_left_is_found_on_its_hosts_or_begun_anew(config: Path) -> None:
    made = Made(config, "left", "finished", "finished")
    assert swept(config, made) == 4
    assert swept(config, made) == 0
    assert made.plans == [("rates-1", None, False), ("rates-1", None, True), ("rates-2", None, False)]
    other = Made(config, "left", "unknown", "finished", "finished")
    assert swept(config, other, name="other") == 4
    assert swept(config, other, name="other") == 0
    assert [name for name, *_ in other.plans] == ["other-1", "other-1", "other-1-r2", "other-2"]


def test_what_a_start_fails_with_ends_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckFailed):
        swept(config, Made(config, "finished", "refused"))
    assert "ends at run 2 of 2: the same command goes on" in capsys.readouterr().err


def test_a_name_that_another_sweep_has_is_refused(config: Path) -> None:
    made = Made(config)
    swept(config, made)
    with pytest.raises(UsageError, match=r"rates-1 is a run with other settings .*choose another --name"):
        swept(config, made, "run.learning_rate=0.5,0.03")
    with pytest.raises(UsageError, match="characters"):
        swept(config, made, name="x" * 60)
    assert len(made.plans) == 2
