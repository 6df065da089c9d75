"""Every mistake in a cluster.toml is named with its place and its remedy, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError

HOST = '[[hosts]]\nname = "box1"\n'


def problems(folder: Path, text: str | bytes, *overrides: str, only: tuple[str, ...] = ()) -> list[str]:
    path = folder / "cluster.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, only)
    assert caught.value.exit_code == 2
    assert caught.value.path == str(path)
    assert all("\n" not in problem and problem.isprintable() for problem in caught.value.problems)
    return list(caught.value.problems)


CASES = [
    # sections and keys
    ("[rn]\nseed = 1", "3: rn: is unknown; did you mean run?"),
    ("[run]\nglobl_batch = 5", "4: run.globl_batch: is unknown; did you mean global_batch?"),
    ("[elastic]\nxyz = 5", "4: elastic.xyz: is unknown; there are min_hosts"),
    ("[run]\npolicy = 'static'", "4: run.policy: is no key here; it belongs in [balance]"),
    ("[[hosts]]\nname = 'b'\nleader = true", "5: hosts.b.leader: is no key here; it belongs in [cluster]"),
    ("[defaults]\nname = 'b'", "4: defaults.name: is no key here; it belongs in [cluster] or [[hosts]]"),
    ("[defaults]\naddress = 'b'", "4: defaults.address: is no key here; it belongs in [[hosts]]"),
    ('[run]\n"a\\nb" = 1', "there are task"),
    ("[[run]]\nseed = 1", "3: run: must be a table; begin it with [run]"),
    ("[environment]\npip = ['x']", "4: environment.pip: is unknown; there are packages, requirements, wheels"),
    ("[environment]\nrequirements = ''", '4: environment.requirements: "" is empty'),
    ("[run]\npush = 1", "4: run.push: is no key here; it belongs in [data]"),
    ("[data]\npath = '/a'\npush = 'b'", "5: data.push: path is given too; keep one of them"),
    ("[data]\npush = ''", '4: data.push: "" is empty'),
    ("[elastic]\nlost = 1", "4: elastic.lost: is unknown"),
    # types and bounds
    ("[run]\nseed = '5'", '4: run.seed: must be a whole number, is "5"; write it without quotes'),
    ("[run]\nseed = true", "4: run.seed: must be a whole number, is true"),
    ("[run]\nseed = 1.0", "4: run.seed: must be a whole number, is 1.0"),
    ("[run]\nlearning_rate = true", "4: run.learning_rate: must be a number, is true"),
    ("[run]\nlearning_rate = inf", "4: run.learning_rate: must be a number, is inf"),
    ("[run]\nlearning_rate = 0", "4: run.learning_rate: must be above 0, is 0"),
    ("[run]\nmomentum = 1", "4: run.momentum: must be below 1, is 1"),
    ("[run]\nglobal_batch = 0", "4: run.global_batch: must be at least 1, is 0"),
    ("[run]\nseed = 9223372036854775808", "4: run.seed: is too large"),
    ("[run]\nnorm = 'layer'", '4: run.norm: must be "batch" or "group", is "layer"'),
    ("[data]\ndownload = 'yes'", '4: data.download: must be true or false, is "yes"'),
    ("[data]\npath = 2026-01-01", "4: data.path: must be text, is a date or time"),
    ("[cluster]\nport = 80", "4: cluster.port: must be at least 1024, is 80"),
    ("[cluster]\nconnect = 'pbs'", '4: cluster.connect: must be "ssh", "demo", "local", "slurm" or "kubernetes"'),
    ("[cluster]\nname = 'a/b'", '4: cluster.name: "a/b" holds "/"; use letters, digits and . _ -'),
    # hosts
    ("[[hosts]]\nname = 'box1'\naddress = 'h'", '4: hosts.#2.name: "box1" is the host on line 2 already'),
    ("[[hosts]]\nname = ''", '4: hosts.#2.name: "" is empty'),
    ("[[hosts]]\nname = '-x'", '4: hosts.-x.name: "-x" must begin with'),
    (f"[[hosts]]\nname = '{'x' * 64}'", "has 64 characters; 63 is the most"),
    ("[[hosts]]\naddress = 'b'", "3: hosts.#2: has no name; add one"),
    ("[[hosts]]\nname = 'b'\nenv = { A = 1 }", '5: hosts.b.env.A: must be text, is 1; write it in quotes: "1"'),
    ("[[hosts]]\nname = 'b'\n[hosts.env]\n\"A B\" = ''", '5: hosts.b.env: has "A B"'),
    ("[[hosts]]\nname = 'b'\nenv = { MOTLEY_RUN = '' }", "5: hosts.b.env: has MOTLEY_RUN"),
    ("[[hosts]]\nname = 'b'\nenv = { A = \"\\u0000\" }", "5: hosts.b.env: has a NUL character in the value of A"),
    ("[[hosts]]\nname = 'b'\npass_env = 'A'", '5: hosts.b.pass_env: must be a list of text, is "A"'),
    ("[[hosts]]\nname = 'b'\npass_env = ['1A']", '5: hosts.b.pass_env: has "1A"'),
    ("[[hosts]]\nname = 'b'\npass_env = [\n'A',\n3]", "7: hosts.b.pass_env.#2: must be text, is 3"),
    ("[[hosts]]\nname = 'b'\nmax_batch = 0", "5: hosts.b.max_batch: must be at least 1, is 0"),
    ("[[hosts]]\nname = 'b'\nport = 65536", "5: hosts.b.port: must be at most 65535, is 65536"),
    ("[[hosts]]\nname = 'b'\nuser = 'a b'", '5: hosts.b.user: "a b" holds a space'),
    ("[[hosts]]\nname = 'b'\npython = ' '", '5: hosts.b.python: " " is empty'),
    ("[[hosts]]\nname = 'b'\nidentity = '-x'", '5: hosts.b.identity: "-x" must not begin with -'),
    ("[[hosts]]\nname = 'b'\njump = 'a@b,-x'", '5: hosts.b.jump: "a@b,-x" must read [user@]address[:port]'),
    ("[[hosts]]\nname = 'b'\nspeed = 0.5", "5: hosts.b.speed: is for demo hosts only"),
    ("[[hosts]]\nname = 'b'\nconnect = 'demo'\nspeed = 0", "6: hosts.b.speed: must be above 0, is 0"),
    ("[[hosts]]\nname = 'b'\nconnect = 'demo'\nspeed = 1.5", "6: hosts.b.speed: must be at most 1, is 1.5"),
    ("[defaults]\nspeed = 0.5", "4: defaults.speed: is for demo hosts only"),
    # the machine itself
    (
        "connect = 'local'\n[[hosts]]\nname = 'b'\nconnect = 'local'",
        '6: hosts.b.connect: is this machine (connect = "local"), as box1 is already; one host of a cluster is',
    ),
    (
        "[defaults]\nconnect = 'local'\n[[hosts]]\nname = 'b'",
        '5: hosts.b: is this machine (connect = "local"), as box1 is already; one host of a cluster is',
    ),
    ("connect = 'local'\nuser = 'ada'", '4: hosts.box1.user: is for SSH, which connect = "local" does without'),
    ("connect = 'local'\nport = 22", "4: hosts.box1.port: is for SSH"),
    ("connect = 'local'\njump = 'gate'", "4: hosts.box1.jump: is for SSH"),
    ("connect = 'local'\nidentity = 'key'", "4: hosts.box1.identity: is for SSH"),
    ("connect = 'local'\nspeed = 0.5", "4: hosts.box1.speed: is for demo hosts only"),
    (
        "connect = 'local'\naddress = 'h'\n[[hosts]]\nname = 'b'\naddress = 'h'",
        "hosts.b: is the same machine as box1 (h)",
    ),
    ("[[hosts]]\nname = 'b'\naddress = 'BOX1'", "3: hosts.b: is the same machine as box1 (BOX1); list its devices"),
    # devices
    ("[[hosts]]\nname = 'b'\ndevices = 'cuda:0'", '5: hosts.b.devices: must be "auto" or a list such as ["cuda:0"'),
    ("[[hosts]]\nname = 'b'\ndevices = ['gpu']", '5: hosts.b.devices: has "gpu"; a device is "cpu", "cuda:0"'),
    ("[[hosts]]\nname = 'b'\ndevices = [-1]", '5: hosts.b.devices: has "cuda:-1"'),
    ("[[hosts]]\nname = 'b'\ndevices = [true]", '5: hosts.b.devices: must be "auto" or a list'),
    ("[[hosts]]\nname = 'b'\ndevices = []", '5: hosts.b.devices: is empty; "auto" takes what is there'),
    ("[[hosts]]\nname = 'b'\ndevices = [[]]", "5: hosts.b.devices: has an empty list in it"),
    ("[[hosts]]\nname = 'b'\ndevices = [[0, 1], 'cuda:1']", "5: hosts.b.devices: has cuda:1 twice"),
    ("[[hosts]]\nname = 'b'\ndevices = [['cpu', 'cpu']]", "5: hosts.b.devices: has cpu and cpu in one list; what is"),
    ("[[hosts]]\nname = 'b'\ndevices = [[0, 'xpu:0']]", "5: hosts.b.devices: has cuda:0 and xpu:0 in one list"),
    (
        "[[hosts]]\nname = 'b'\ndevices = [['cuda:0', 1]]",
        "5: hosts.b.devices: has several cards for one rank (cuda:0+1), and simple_cnn/digits trains on one card by",
    ),
    (
        "[defaults]\ndevices = [[0, 1], 2]\n[run]\nscript = 'a.py'",
        "4: defaults.devices: has several cards for one rank (cuda:0+1), and each rank of a script has one; write "
        '"cuda:0", "cuda:1" without the list in the list',
    ),
    ("[[hosts]]\nname = 'b'\ndevices = [0, 'cuda:0']", "5: hosts.b.devices: has cuda:0 twice"),
    # what does not fit together
    ("[cluster]\nleader = 'box2'", "4: cluster.leader: there is no host box2; did you mean box1?"),
    ("[run]\nsteps = 3\nepochs = 3", "4: run.steps: epochs is given too; keep one of them"),
    ("[run]\ntask = 'simple_cn/digits'", "4: run.task: task 'simple_cn/digits': no model 'simple_cn'"),
    ("[elastic]\nmin_hosts = 2", "4: elastic.min_hosts: is 2, which is more than the run's 1"),
    ("[balance]\nshares = [256]", '4: balance.shares: are for policy = "static"; dynamic finds its own'),
    ("[balance]\npolicy = 'static'\nshares = [200, 50]", "5: balance.shares: add up to 250; they must make up"),
    ("[balance]\npolicy = 'static'\nshares = [\n300,\n-44]", "7: balance.shares.#2: must be at least 0, is -44"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_one_mistake_makes_one_problem_with_its_line_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, HOST + text)
    assert problem.startswith("cluster.toml:")
    assert expected in problem


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "is empty"),
        ("a b", "holds a space"),
        ("http://box", "is a URL"),
        ("alex@box", 'write address = "box" and user = "alex"'),
        ("box:22", 'write address = "box" and port = 22'),
        ("[::1]", "without brackets"),
        ("-oProxyCommand=x", "must not begin with -"),
        ("a\tb", "U+0009"),
        ("a;b", 'holds ";"'),
        ("a\u202eb", "U+202E"),
        ("b" * 254, "253 is the most"),
    ],
)
def test_bad_addresses_are_refused(tmp_path: Path, address: str, expected: str) -> None:
    escaped = "".join(c if c.isascii() and c.isprintable() else f"\\u{ord(c):04x}" for c in address)
    (problem,) = problems(tmp_path, f'{HOST}address = "{escaped}"\n')
    assert problem.startswith("cluster.toml:3: hosts.box1.address: ")
    assert expected in problem


@pytest.mark.parametrize("address", ["box1", "10.0.0.1", "fe80::1%eth0", "a_b.example", "münchen.example"])
def test_good_addresses_are_taken(tmp_path: Path, address: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(
        f'{HOST}address = "{address}"\njump = "alex@gate:22,[fe80::2]:2222,2001:db8::1"\n', encoding="utf-8"
    )
    assert load(path).hosts[0].address == address


def test_all_problems_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '[cluster]\nport = "x"\n[[hosts]]\nname = "a b"\n[[hosts]]\nname = "c"\nprt = 1\n[run]\nsteps = 0\n[weird]\n'
    found = problems(tmp_path, text, "run.seed=-1", "nonsense", only=("d",))
    assert [problem.split(": ")[0] for problem in found] == [
        *(f"cluster.toml:{line}" for line in (2, 4, 7, 9, 10)),
        "--set run.seed=-1",
        "--set nonsense",
        "--only d",
    ]


def test_shares_are_counted_against_devices_once_these_are_given(tmp_path: Path) -> None:
    text = '[[hosts]]\nname = "a"\ndevices = [0, 1]\n[[hosts]]\nname = "b"\ndevices = ["cpu"]\n'
    balance = '[balance]\npolicy = "static"\nshares = [200, 56]\n'
    (problem,) = problems(tmp_path, text + balance)
    assert problem == "cluster.toml:9: balance.shares: are 2, but the hosts have 3 devices; give one for each"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cluster.toml: hosts: there are none; add [[hosts]]"),
        ("hosts = []", "cluster.toml:1: hosts: there are none; add [[hosts]]"),
        ("[hosts.box1]\nport = 22", "cluster.toml:1: hosts: begin each host with [[hosts]], in double brackets"),
        ("hosts = ['box1']", "cluster.toml:1: hosts: begin each host with [[hosts]], in double brackets"),
    ],
)
def test_a_file_without_hosts_is_told_how_to_write_one(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b"[run]\ntask = simple\n",
            "cluster.toml:2: column 8: Invalid value; text is written in quotes: task = simple",
        ),
        (b"[run]\nseed = 1\nseed = 2\n", "cluster.toml:3: column 9: Cannot overwrite a value: seed = 2"),
        (b'[run]\ntask = "a', "cluster.toml:2: column 10: "),
        (b"[run\n", "cluster.toml:1: column 5: "),
        (b'a = 1\nb = "\xff"\n', "cluster.toml:2: byte 0xff is not UTF-8"),
        (b"a = 1\x00", "cluster.toml:1: column 6: "),
        (b"a = " + b"9" * 5000, "cluster.toml"),
        (b"a = " + b"[" * 100_000, "cluster.toml: is nested too deeply"),
        (b"[run]\n" + b"a." * 40 + b"b = 1", "cluster.toml: is nested too deeply"),
        (b"[run]\nargs = " + b"[" * 400 + b"]" * 400, "cluster.toml: is nested too deeply"),
        (b"#" * ((1 << 20) + 1), "cluster.toml: is larger than 1 MiB"),
    ],
)
def test_what_is_not_toml_is_named_with_line_and_column(tmp_path: Path, text: bytes, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


def test_files_that_can_not_be_opened_are_told_apart(tmp_path: Path) -> None:
    for path, expected in [
        (tmp_path / "none.toml", "none.toml: there is no such file; name one with -c FILE"),
        (tmp_path, "is a folder"),
        (tmp_path / ("x" * 300), "can't be read: File name too long"),
    ]:
        with pytest.raises(ConfigError, match=expected):
            load(path)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("run.epochs", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("run..x=1", "is not KEY=VALUE"),
        ("run=1", "names a section; write run.KEY=VALUE"),
        ("rn.epochs=1", "is unknown; did you mean run?"),
        ("epochs=1", "is no key here; it belongs in [run]"),
        ("run.epoch=1", "is unknown; did you mean epochs?"),
        ("run.epochs=ten", 'must be a whole number, is "ten"'),
        ("run.epochs=0", "must be at least 1, is 0"),
        ("run.epochs.x=0", "must be a whole number, is a table"),
        ("hosts.box9.port=1", "names no key of a host; write hosts.NAME.KEY=VALUE, where NAME is one of: box1"),
        ("hosts.box1=1", "names no key of a host"),
        ("hosts.box1.prt=1", "is unknown; did you mean port?"),
        ("environment.x=1", "is unknown"),
    ],
)
def test_a_bad_override_is_quoted(tmp_path: Path, override: str, expected: str) -> None:
    (problem,) = problems(tmp_path, HOST, override)
    assert problem.startswith(f"--set {override}: ")
    assert expected in problem


def test_only_names_hosts_that_are_there(tmp_path: Path) -> None:
    assert problems(tmp_path, HOST, only=("box1", "box")) == ["--only box: there is no such host; did you mean box1?"]


def test_what_controls_a_terminal_takes_nothing_else_of_the_line_with_it(tmp_path: Path) -> None:
    assert problems(tmp_path, HOST, "a\rb") == ["--set a b: is not KEY=VALUE, such as run.epochs=3"]
    assert problems(tmp_path, HOST, "run.task=a\r")[0].startswith("--set run.task=a : task ")
    assert problems(tmp_path, HOST, "\x9b") == ["--set : is not KEY=VALUE, such as run.epochs=3"]
    (found,) = problems(tmp_path, HOST + 'user = "\\u009b"')
    assert found.endswith('user: "\\u009b" holds the character U+009B, which no user name has')
    assert problems(tmp_path, HOST + '[cluster]\nleader = "\\r"') == [
        "cluster.toml:4: cluster.leader: there is no host  ; there is box1"
    ]
