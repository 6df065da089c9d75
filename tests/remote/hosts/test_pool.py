"""The pool of hosts: more of them than the shell lets a program have open files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TEXT = """
[cluster]
connect = "demo"

[[hosts]]
name = "box1"

[run]
"""
CODE = """
import resource, sys
from pathlib import Path
from motley.remote.config.load import load
from motley.remote.hosts.pool import Hosts
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
Hosts(load(Path(sys.argv[1])))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 16))
"""


def test_the_console_may_have_as_many_connections_open_as_the_system_grants(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(TEXT)
    done = subprocess.run([sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("True\n", "")
