"""A script of the user's own, run for a while by itself: whether it works on this host. Standard library only.

It runs in a copy of its project in a folder of its own (`Calibration.folder`), as the only rank, and is ended when its
time is up, with all that it has started. What it has written is gone with the folder.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import Script
from motley.trainer.host import processes
from motley.trainer.host.paths import HERE, project_folder
from motley.trainer.verbs.attended_child import Say

GRACE_S = 2.0  # from TERM to KILL
TAIL = 64 * 1024  # bytes of its output that are looked at
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")


def script_ran(asked: Calibration, script: Script, say: Say) -> int:
    """0 when it ran until it was ended, or to its own end; 1 when it failed, which is said with its file and line."""
    folder = Path(asked.folder)
    project = folder / "project"
    shutil.copytree(project_folder(script.tree), project)
    say({"note": f"{script.path} runs for {asked.run_s:g} s"})
    processes.become_subreaper()
    began = time.monotonic()
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            [sys.executable, script.path, *script.args], cwd=project, env=_environment(asked, folder),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(asked.run_s)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - began
        processes.end(folder, grace_s=GRACE_S, under=os.getpid(), wait=_reaping)
        process.wait()
        _reaping(0.0)
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        printed = output.read().decode(errors="replace")
    if code:
        say(_failed(code, printed, project, script))
        return 1
    memory_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    say({"result": {"steps": None, "seconds": seconds, "ended": code == 0, "memory_mib": memory_mib}})
    return 0


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


def _environment(asked: Calibration, folder: Path) -> dict[str, str]:
    """As `trainer.rank.torchrun_environment` gives it to the only rank there is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK")
    of_one = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE")
    return {
        **os.environ,
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
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE)])),  # for `import motley`
        **({"MOTLEY_DATA": os.path.expanduser(asked.data.path)} if asked.data.path else {}),
    }


def _failed(code: int, printed: str, project: Path, script: Script) -> dict[str, Any]:
    """What to answer of a script that has ended with an error."""
    if code == -signal.SIGKILL:
        remedy = "Its memory may be too small: take a smaller batch in args, or leave the host out"
        return {"error": f"{script.path} was ended by the system (SIGKILL)", "remedy": remedy}
    error = last_error(printed)
    line = place(printed, project)
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    cause = f"{line or script.path}: {error}" if error else f"{script.path} ended {how}"
    return {"error": cause, "remedy": "Mend it, and check again"}


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
