"""What a cluster.toml means: hosts with their defaults, options, and the changes of the command line."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_run_name, new_run_name
from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TWO = '[cluster]\nname = "home"\n[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2.lan"\n'


def read(folder: Path, text: str, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Cluster:
    path = folder / "cluster.toml"
    path.write_bytes(text.encode())
    return load(path, overrides, only)


def test_one_line_is_a_cluster_and_everything_else_has_a_default(tmp_path: Path) -> None:
    folder = tmp_path / "My models!"
    folder.mkdir()
    cluster = read(folder, '[[hosts]]\nname = "box1"\n')
    (host,) = cluster.hosts
    assert (cluster.name, cluster.leader, cluster.port, cluster.connect) == ("My-models", "box1", 29500, "ssh")
    assert (host.name, host.address, host.python, host.devices) == ("box1", "box1", "python3", "auto")
    assert (host.user, host.port, host.identity, host.jump, host.max_batch, host.speed) == (None,) * 6
    assert (host.env, host.pass_env, host.connect) == ({}, (), "ssh")
    assert (cluster.run, cluster.balance, cluster.elastic, cluster.data) == (
        RunOptions(),
        BalanceOptions(),
        ElasticOptions(),
        DataOptions(),
    )


def test_a_host_goes_before_the_defaults_and_environments_are_joined(tmp_path: Path) -> None:
    cluster = read(
        tmp_path,
        """
        [defaults]
        user = "alex"
        port = 2222
        identity = "keys/lab"
        pass_env = ["HTTPS_PROXY"]
        env = { A = "1", B = "1" }
        [[hosts]]
        name = "box1"
        address = "10.0.0.1"
        devices = [0, "cuda:1", "cpu", "cpu"]
        [[hosts]]
        name = "box2"
        user = "sam"
        identity = "/keys/own"
        env = { B = "2" }
        pass_env = []
        """,
    )
    first, second = cluster.hosts
    assert (first.user, first.port, first.identity) == ("alex", 2222, str(tmp_path / "keys/lab"))
    assert (first.env, first.pass_env) == ({"A": "1", "B": "1"}, ("HTTPS_PROXY",))
    assert first.devices == ("cuda:0", "cuda:1", "cpu", "cpu")
    assert (second.user, second.identity) == ("sam", "/keys/own")
    assert (second.env, second.pass_env) == ({"A": "1", "B": "2"}, ())


def test_a_key_file_in_the_home_folder_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (host,) = read(tmp_path, '[[hosts]]\nname = "a"\nidentity = "~/.ssh/lab"\n').hosts
    assert host.identity == str(tmp_path / "home/.ssh/lab")


def test_demo_hosts_are_on_loopback_with_a_speed_and_the_consoles_python(tmp_path: Path) -> None:
    text = '[cluster]\nconnect = "demo"\n[[hosts]]\nname = "fast"\n[[hosts]]\nname = "slow"\nspeed = 0.25\n'
    fast, slow = read(tmp_path, text).hosts
    assert (fast.address, fast.python, fast.connect, fast.speed) == ("127.0.0.1", None, "demo", 1.0)
    assert slow.speed == 0.25


def test_the_machine_itself_has_no_address_but_one_that_is_given(tmp_path: Path) -> None:
    text = '[defaults]\nuser = "ada"\n[[hosts]]\nname = "desk"\nconnect = "local"\n[[hosts]]\nname = "box"\n'
    desk, box = read(tmp_path, text).hosts
    assert (desk.connect, desk.address, desk.python, desk.speed) == ("local", "", None, None)
    assert (box.connect, box.address, box.python) == ("ssh", "box", "python3")
    given = 'connect = "local"\naddress = "desk.lan"\nuser = "ada"\nport = 2222\npython = "~/torch/bin/python"'
    (desk,) = read(tmp_path, f'[[hosts]]\nname = "desk"\n{given}\n').hosts
    assert (desk.connect, desk.address, desk.user, desk.port) == ("local", "desk.lan", "ada", 2222)
    assert desk.python == "~/torch/bin/python"


def test_a_real_cluster_can_be_tried_as_demo_hosts(tmp_path: Path) -> None:
    text = '[[hosts]]\nname = "a"\naddress = "10.0.0.1"\n[[hosts]]\nname = "b"\naddress = "10.0.0.2"\n'
    cluster = read(tmp_path, text, ("cluster.connect=demo", "hosts.b.speed=0.5"))
    assert [(h.connect, h.address, h.speed) for h in cluster.hosts] == [
        ("demo", "127.0.0.1", 1.0),
        ("demo", "127.0.0.1", 0.5),
    ]


def test_options_reach_the_classes_the_hosts_use(tmp_path: Path) -> None:
    cluster = read(
        tmp_path,
        TWO + '[run]\ntask = "resnet18/cifar10"\nlearning_rate = 1\nsteps = 9\nglobal_batch = 48\n'
        '[balance]\npolicy = "static"\nshares = [32, 16]\n[elastic]\nmin_hosts = 2\n[data]\ndownload = false\n',
    )
    assert (cluster.run.task, cluster.run.learning_rate, cluster.run.steps) == ("resnet18/cifar10", 1.0, 9)
    assert isinstance(cluster.run.learning_rate, float)
    assert cluster.balance == BalanceOptions(policy="static", shares=(32, 16))
    assert (cluster.elastic.min_hosts, cluster.data.download) == (2, False)


def test_set_reaches_every_section_and_takes_values_as_toml_or_text(tmp_path: Path) -> None:
    cluster = read(
        tmp_path,
        TWO,
        (
            "run.global_batch = 512",
            "balance.policy=static",
            "balance.shares=[500, 12]",
            'cluster.leader="box2.lan"',
            "hosts.box2.lan.port=2200",
            "hosts.box2.lan.env.LEVEL=high",
            "hosts.box1.devices=['cpu']",
            "defaults.user=alex",
            "data.path=/data/a=b",
        ),
    )
    first, second = cluster.hosts
    assert (cluster.run.global_batch, cluster.balance.policy) == (512, "static")
    assert (cluster.leader, second.port, second.env) == ("box2.lan", 2200, {"LEVEL": "high"})
    assert (first.devices, first.user, cluster.data.path) == (("cpu",), "alex", "/data/a=b")


def test_the_last_of_two_values_for_a_key_counts(tmp_path: Path) -> None:
    assert read(tmp_path, TWO, ("run.seed=1", "run.seed=2")).run.seed == 2


@pytest.mark.parametrize(
    ("section", "override", "expected"),
    [
        ("[run]\nepochs = 40\n", "run.steps=20", (20, RunOptions().epochs, ())),
        ("[run]\nsteps = 500\n", "run.epochs=2", (None, 2, ())),
        ('[balance]\npolicy = "static"\nshares = [200, 56]\n', "balance.policy=dynamic", (None, 10, ())),
        ('[balance]\npolicy = "static"\nshares = [200, 56]\n', "balance.policy=static", (None, 10, (200, 56))),
    ],
)
def test_set_displaces_what_it_contradicts_in_the_file(
    tmp_path: Path, section: str, override: str, expected: tuple[int | None, int, tuple[int, ...]]
) -> None:
    cluster = read(tmp_path, TWO + section, (override,))
    assert (cluster.run.steps, cluster.run.epochs, cluster.balance.shares) == expected


def test_only_keeps_the_named_hosts_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "".join(f'[[hosts]]\nname = "{name}"\n' for name in "abc") + '[cluster]\nleader = "a"\n'
    cluster = read(tmp_path, text, only=("c", "b"))
    assert [host.name for host in cluster.hosts] == ["b", "c"]
    assert cluster.leader == "b"  # the leader of the file is left out, so the first takes its place
    assert read(tmp_path, text, only=("c", "a")).leader == "a"


def test_the_copy_for_the_experiment_says_what_the_command_line_changed(tmp_path: Path) -> None:
    assert read(tmp_path, TWO).text == TWO
    text = read(tmp_path, TWO, ("run.seed=7", 'data.path="a\\nb"', "hosts.box1.user=x\n"), ("box1",)).text
    assert text.startswith(TWO)
    assert "# --set run.seed=7\n" in text
    assert "# --only box1\n" in text
    assert tomllib.loads(text) == tomllib.loads(TWO)


def test_files_of_windows_editors_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + TWO.replace("\n", "\r\n")).name == "home"


def test_runs_are_named_after_the_cluster_and_the_time_in_utc(tmp_path: Path) -> None:
    cluster = read(tmp_path, TWO)
    noon = datetime(2026, 11, 21, 4, 45, tzinfo=timezone(timedelta(hours=1)))
    assert new_run_name(cluster, noon) == "home-20261121-034500"
    long = read(tmp_path, f'[cluster]\nname = "{"n" * 63}"\n[[hosts]]\nname = "a"\n')
    check_run_name(new_run_name(long, noon))


@pytest.mark.parametrize("name", ["", ".", "..", "-x", ".x", "a/b", "a b", "ä", "a\nb", "a" * 64, "$(x)"])
def test_names_of_runs_that_are_no_plain_folder_name_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="the name of a run"):
        check_run_name(name)


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_no_run_has_the_name_of_an_engine(name: str) -> None:
    with pytest.raises(UsageError, match=f'{name}\\", is that of an engine: `motley export {name}` means the engine'):
        check_run_name(name)


@pytest.mark.parametrize("name", ["slurm-2", "a", "_x", "7", "A.b_c-9", "a" * 63])
def test_plain_names_of_runs_are_taken(name: str) -> None:
    check_run_name(name)
