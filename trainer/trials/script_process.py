"""A script of the user's own as the only rank there is, in a copy of its project. Standard library only.

Two pipes lead to it: on one its `motley.session()` is told which steps to do, on the other it says what they took
(`trainer.api.timed_peers`). A script without a session knows of neither.

>>> with ScriptProcess(asked, script) as running:
...     running.hear(20.0)
{'session': True}
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.script import Script
from motley.trainer.errors import SessionError
from motley.trainer.host import processes
from motley.trainer.host.paths import HERE, project_folder

GRACE_S = 2.0  # from TERM to KILL
LOOK_S = 0.2  # between two looks at whether it has ended
TAIL = 64 * 1024  # bytes of its output that are looked at
_OURS = re.compile(r"\S+\.py:\d+: ")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")


class ScriptProcess:
    """It runs in `Calibration.folder`, and is ended with all that it has started; what it has written lies there."""

    def __init__(self, asked: Calibration, script: Script) -> None:
        self._script = script
        self._folder = folder = Path(asked.folder)
        self._project = folder / "project"
        shutil.copytree(project_folder(script.tree), self._project)
        processes.become_subreaper()
        env = script.environment(os.environ)
        if cause := script.missing(str(self._project), env):
            raise SessionError(cause, f"Install {script.command[0]} there, or mend [run] command")
        its_commands, self._commands = os.pipe()
        self._answers, its_answers = os.pipe()
        self._rest = b""
        self._output = (folder / "output").open("w+b")
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            script.argv(sys.executable, env), cwd=self._project, stdin=subprocess.DEVNULL,
            env={**env, **environment(asked, folder, commands=its_commands, answers=its_answers)}, stdout=self._output,
            stderr=self._output, start_new_session=True, pass_fds=(its_commands, its_answers),
        )  # fmt: skip
        os.close(its_commands)
        os.close(its_answers)

    def __enter__(self) -> ScriptProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.end()
        os.close(self._answers)
        self._output.close()

    @property
    def code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def tell(self, **words: Any) -> None:
        """What its session is to do. Nobody listens once it has ended."""
        try:
            os.write(self._commands, json.dumps(words).encode() + b"\n")
        except BrokenPipeError:
            return

    def hear(self, within_s: float) -> dict[str, Any] | None:
        """What its session says next; None when it has ended, or says nothing in that time."""
        deadline = time.monotonic() + within_s
        while b"\n" not in self._rest:
            ended = self.code is not None
            left_s = deadline - time.monotonic()
            ready, _, _ = select.select([self._answers], [], [], 0.0 if ended else max(0.0, min(LOOK_S, left_s)))
            data = os.read(self._answers, 65536) if ready else b""
            self._rest += data
            if not data and (ended or left_s <= 0):
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        table: dict[str, Any] = json.loads(line)
        return table

    def end(self) -> None:
        """End it, with all that it has started."""
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1
        processes.end(self._folder, grace_s=GRACE_S, under=os.getpid(), wait=_reaping)
        self._process.wait()
        _reaping(0.0)

    def memory_mib(self) -> int:
        """The most that one of its processes has had, once it has ended."""
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10

    def what_failed(self) -> tuple[str, str]:
        """Of a script that has ended with an error: its cause, with file and line, and what mends it."""
        code, path = self.code or 0, self._script.name
        if code == -signal.SIGKILL:
            remedy = "Its memory may be too small: take a smaller batch in args, or leave the host out"
            return f"{path} was ended by the system (SIGKILL)", remedy
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - TAIL))
        printed = self._output.read().decode(errors="replace")
        error, line = last_error(printed), place(printed, self._project)
        if _OURS.match(error):  # it names its line itself
            return error, ""
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return (f"{line or path}: {error}" if error else f"{path} ended {how}"), "Mend it, and check again"


def environment(asked: Calibration, folder: Path, *, commands: int, answers: int) -> dict[str, str]:
    """As `trainer.rank.torchrun_environment` gives it to the only rank there is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK")
    of_one = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE")
    timed = {
        "commands": commands, "answers": answers, "global_batch": asked.options.global_batch,
        "seed": asked.options.seed, "speed": asked.speed, "speeds": asked.speeds,
    }  # fmt: skip
    return {
        **dict.fromkeys(one, "0"),
        **dict.fromkeys(of_one, "1"),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "trial",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "MOTLEY_RUN": "trial",
        "MOTLEY_HOST": socket.gethostname(),
        "MOTLEY_DIR": str(folder),
        "MOTLEY_DEVICE": asked.device,
        "MOTLEY_RESTART": "0",
        "MOTLEY_TIMED": json.dumps(timed),
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE)])),  # for `import motley`
        **({"MOTLEY_DATA": os.path.expanduser(asked.data.path)} if asked.data.path else {}),
    }


def last_error(printed: str) -> str:
    """The line of the last exception in what was printed; without one the last line of all.

    >>> last_error("Traceback …\\n  File …\\nValueError: no such layer\\nbye\\n")
    'ValueError: no such layer'
    """
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    raised = [line for line in lines if _ERROR.fullmatch(line)]
    return (raised or lines or [""])[-1]


def place(printed: str, project: Path) -> str:
    """The innermost line of the project in the last traceback: `train.py:31`; empty when there is none.

    >>> place('  File "/p/lib/net.py", line 7, in forward', Path("/p"))
    'lib/net.py:7'
    """
    last = printed.rpartition("Traceback (most recent call last)")[2]
    found = re.findall(rf'File "{re.escape(str(project))}/([^"]+)", line (\d+)', last)
    relative = re.findall(r'File "([^/"<][^"]*)", line (\d+)', last)  # of what was started by a relative path
    return ":".join((found or relative)[-1]) if found or relative else ""


def _reaping(seconds: float) -> None:
    """Wait, and take leave of what has ended: only then its memory counts."""
    time.sleep(seconds)
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
