"""What a supervisor executes: between fork and exec Python runs only where no other thread may hold a lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys, threading
from pathlib import Path
from motley.trainer.supervisor.child import spawn
with_python = []
os.register_at_fork(before=lambda: with_python.append(True))  # not called where the child runs none before its exec
if sys.argv[1] == "several":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
child = spawn(Path(sys.argv[2]), "rank_0", ["/bin/sh", "-c", "echo hello $MINE; exit 7"], env={"MINE": "yes"})
print(bool(with_python), child.process.wait(60), flush=True)
os.set_blocking(child.output.pipe, True)
while child.output.pump():
    pass
os._exit(0)
"""


@pytest.mark.parametrize(("threads", "told"), [("one", b"True 7\n"), ("several", b"False 7\n")])
def test_a_parent_with_several_threads_runs_no_python_between_fork_and_exec(
    tmp_path: Path, threads: str, told: bytes
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, threads, str(tmp_path)], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, told), done.stderr.decode()
    assert (tmp_path / "rank_0.out").read_text() == "hello yes\n"
