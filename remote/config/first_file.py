"""What to say where there is no cluster.toml: for somebody who calls `motley` for the first time. Pure.

print(absent(Path.cwd()))
"""

from __future__ import annotations

import shlex
from pathlib import Path

import motley
from motley.remote.sanitize import clean

DEMO = Path(motley.__file__).resolve().parents[1] / "cluster.toml"  # where Motley runs from its source
EXAMPLE = """\
    [[hosts]]
    name = "desktop"
    connect = "local"             # the machine you sit at; the first one leads

    [[hosts]]
    name = "laptop"
    address = "192.168.1.20"      # with an SSH server
    user = "alex"

    [run]
    task = "simple_cnn/digits"    # a model and a data set
"""


def absent(folder: Path) -> str:
    """`folder`: where one was looked for."""
    trial = f"To try Motley on four emulated hosts first: cp {shlex.quote(str(DEMO))} . && motley\n"
    return (
        f"there is no cluster.toml in {clean(str(folder))}. It says which machines train, and what.\n"
        f"For a start, with this machine and the address of one more:\n\n{EXAMPLE}\n"
        "Then call motley check, motley profile, motley plan, and motley. It may also be elsewhere: motley -c FILE\n"
        f"{trial if DEMO.is_file() else ''}"
        "All keys: docs/cluster-toml.md"
    )
