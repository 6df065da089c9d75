"""The `motley` command as a user meets it: a process of its own, its two streams and its exit code.

Where what it imports is not what a test is about, the process is forked from one that has imported it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from motley.console.cli import app
from motley.console.view.answer_tables import findings_text, status_text
from motley.remote.config.load import load
from motley.remote.errors import CheckFailed, Finding

ROOT = Path(__file__).parents[2]

FORKING = """
import json, os, pathlib, signal, sys
import motley.console.commands.run, typer.rich_utils
from motley.console.cli import main
from motley.remote.config.load import load

load(pathlib.Path(sys.argv[1]))

for line in sys.stdin:
    args, cwd = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.chdir(cwd)
        os.environ["HOME"] = cwd
        for number, name in enumerate((os.devnull, "stdout", "stderr")):
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
            os.close(file)
        sys.argv[1:] = args
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Done = subprocess.CompletedProcess[str]
Forked = Callable[..., Done]


def environment(cwd: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "HOME": str(cwd), "PATH": "/usr/bin:/bin", "COLUMNS": "100"}


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """As `motley`, with nothing to import first."""
    home = tmp_path_factory.mktemp("forking")
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, ROOT / "cluster.toml"],
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        requests, codes = server.stdin, server.stdout
        assert requests
        assert codes

        def run(*args: str, cwd: Path) -> Done:
            requests.write(json.dumps([args, os.fspath(cwd)]) + "\n")
            requests.flush()
            code = int(codes.readline())
            texts = [(cwd / name).read_text() for name in ("stdout", "stderr")]
            return subprocess.CompletedProcess(["motley", *args], code, *texts)

        yield run
        requests.close()


def motley(*args: str, cwd: Path, code: str = "from motley.console.cli import main; main()") -> Done:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env=environment(cwd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_verb_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = {'torch', 'asyncssh', 'textual', 'pydantic', 'numpy'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "from motley.console.cli import main; main()"
    )
    done = motley("--help", cwd=tmp_path, code=code)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("run", "attach", "status", "stop", "logs", "check"))
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("verb", [[], ["run"], ["attach"], ["status"], ["stop", "r"], ["logs", "r"], ["check"]])
def test_a_missing_cluster_toml_ends_every_verb_with_code_2(tmp_path: Path, forked: Forked, verb: list[str]) -> None:
    done = forked(*verb, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "cluster.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_there_is_no_cluster_toml_the_first_steps_are_told(tmp_path: Path, forked: Forked) -> None:
    done = forked(cwd=tmp_path)
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert said[0] == f"motley: there is no cluster.toml in {tmp_path}. It says which machines train, and what."
    assert '    task = "simple_cnn/digits"    # a model and a data set' in said
    assert any(f"cp {ROOT}/cluster.toml ." in line for line in said)
    example = "\n".join(line for line in said if line.startswith("    "))
    (tmp_path / "mine.toml").write_text(example)
    assert load(tmp_path / "mine.toml").hosts[0].name == "desktop"


def test_a_bare_motley_takes_the_options_of_run(tmp_path: Path, forked: Forked) -> None:
    (tmp_path / "home.toml").write_text('[run]\nepochs = "many"\n[[hosts]]\nnme = "box1"\n')
    bare = forked("-c", "home.toml", "--plain", cwd=tmp_path)
    verb = forked("run", "-c", "home.toml", "--plain", cwd=tmp_path)
    assert bare.returncode == verb.returncode == 2
    assert bare.stderr == verb.stderr
    assert "epochs" in bare.stderr
    assert "nme" in bare.stderr
    assert bare.stdout == ""


def test_profile_names_what_is_wrong_on_stdout_too_and_repeats_its_own_verb(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "cluster.toml").write_text(
            f'[cluster]\nconnect = "demo"\nport = {port}\n[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n'
        )
        done = motley("profile", "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    data = json.loads(done.stdout)
    assert set(data) == {"profiles", "findings"}
    assert data["profiles"] == []
    (finding,) = data["findings"]
    assert (finding["check"], finding["level"]) == ("port", "error")
    assert "motley profile --set cluster.port=" in finding["remedy"]


def test_overrides_of_the_command_line_are_checked_too(tmp_path: Path, forked: Forked) -> None:
    (tmp_path / "cluster.toml").write_text((ROOT / "cluster.toml").read_text())
    done = forked("--set", "run.epochz=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "epochz" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--no-such-option"],
        ["nonsense"],
        ["logs"],
        ["logs", "r", "--rank", "-1"],
        ["run", "--no-start", "--plain"],
        ["run", "--no-start"],
        ["run", "--resume", "../other"],
    ],
)
def test_bad_usage_ends_with_code_2(tmp_path: Path, forked: Forked, args: list[str]) -> None:
    (tmp_path / "cluster.toml").write_text((ROOT / "cluster.toml").read_text())
    done = forked(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_an_unexpected_error_is_one_line_and_a_file(tmp_path: Path) -> None:
    code = (
        "import motley.console.commands.run\n"
        "def broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "motley.console.commands.run.run_plan = broken\n"
        "from motley.console.cli import main; main()"
    )
    done = motley("--plain", cwd=tmp_path, code=code)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    log = tmp_path / ".motley" / "console.log"
    assert str(log) in done.stderr
    assert "ZeroDivisionError: oops" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_plain_puts_the_summary_alone_on_stdout(tmp_path: Path) -> None:
    code = (
        "import motley.console.commands.run\n"
        "from tests.console import scripted\n"
        "motley.console.commands.run.run_plan = lambda *a, **k: scripted.plan(steps=30)[0]\n"
        "from motley.console.cli import main; main()"
    )
    done = motley(cwd=tmp_path, code=code)  # no terminal here: plain by itself
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    assert "new split from step 11" in done.stderr


def test_a_reader_that_has_gone_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """`motley run | head -0`: the run was stopped, and that is what the code says."""
    code = (
        "import os, motley.console.commands.run, motley.console.commands.plain\n"
        "from motley.console.control.session_protocol import Outcome, Plan\n"
        "async def stopped(*a, **k): return Outcome(code=4, data={'state': 'stopped', 'text': 'x' * 100_000})\n"
        "motley.console.commands.plain.run_plain = stopped\n"
        "motley.console.commands.run.run_plan = lambda *a, **k: Plan(cluster='home', open=None, renew=None)\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "from motley.console.cli import main; main()"
    )
    done = motley(cwd=tmp_path, code=code)
    assert (done.returncode, done.stderr) == (4, "")


def test_version(tmp_path: Path) -> None:
    done = motley("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("motley ")


def test_status_for_people() -> None:
    hosts = [{"name": "desktop", "state": "running", "left": 2}, {"name": "box1", "state": "finished", "left": 0}]
    data: dict[str, Any] = {"runs": [{"run": "home-1", "state": "running", "step": 12, "hosts": hosts}]}
    assert status_text(data) == "home-1  running   step 12  desktop running (2 processes), box1 finished"
    data["runs"][0]["resumed_from"] = "first"
    assert status_text(data).endswith("box1 finished  goes on from 'first'")
    assert status_text({"runs": []}) == "no runs on the hosts"


def test_findings_for_people_put_errors_first() -> None:
    warning = Finding("box1", "memory", "warning", "1.2 GiB free", "Close what else runs there")
    error = Finding("box2", "torch", "error", "no torch", "Install it")
    assert findings_text((warning, error), hosts=2).splitlines() == [
        "✖ box2: no torch",
        "    Install it",
        "! box1: 1.2 GiB free",
        "    Close what else runs there",
    ]
    assert findings_text((warning,), hosts=2).endswith("✔ 2 hosts ready")


def test_findings_for_people_say_once_what_several_hosts_have() -> None:
    alike = [Finding(name, "torch", "error", "no torch", "Install it") for name in ("box1", "box3")]
    other = Finding("box2", "torch", "error", "no torch", "Install it there")
    assert findings_text((alike[0], other, alike[1]), hosts=3).splitlines() == [
        "✖ box1, box3: no torch",
        "    Install it",
        "✖ box2: no torch",
        "    Install it there",
    ]
    assert str(CheckFailed((alike[0], other, alike[1]))).splitlines()[0] == "box1, box3: no torch"


def test_docs_name_every_verb_and_option() -> None:
    docs = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for verb, command in group.commands.items():
        section = re.search(rf"^## motley {verb}\n(.*?)(?=^## |\Z)", docs, re.MULTILINE | re.DOTALL)
        assert section, f"docs/commands.md has no section 'motley {verb}'"
        for parameter in command.params:
            if parameter.param_type_name == "option" and "--help" not in parameter.opts:
                for name in parameter.opts:
                    assert f"`{name}" in section.group(1), f"motley {verb} {name} is not in docs/commands.md"
