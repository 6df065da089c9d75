"""Slurm's commands for tests: programs in a folder on the PATH, which say what a test has written down, and note what
they were asked. `srun` runs its command here, so all nodes have one home.

    slurm = StandInSlurm(tmp_path, monkeypatch)
    slurm.queue(slurm.row("PENDING"), slurm.row("RUNNING", nodes="n1"))     # the last one stays
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motley.remote.placement import slurm_asking, slurm_job

JOB = "12"  # that sbatch submits
PROGRAMS = {
    "squeue": """\
left=$(cat "$stand_in/fails")
if [ "$left" != 0 ]; then
    echo "$((left - 1))" >"$stand_in/fails"
    echo "squeue: error: slurm_load_jobs: Socket timed out on send/recv operation" >&2
    exit 1
fi
set -- "$stand_in"/queue/*
cat "$1"
[ $# = 1 ] || rm "$1"
""",
    "sbatch": f'cat >"$stand_in/script"; echo {JOB}\n',
    "scancel": 'rm "$stand_in"/queue/*; : >"$stand_in/queue/0"\n',
    "scontrol": """\
case $1$2 in
showhostnames) printf '%s\\n' "$3" | tr , '\\n';;
-oshow) case $3 in
    job) echo "JobId=$4 Restarts=0";;
    node) for node in $(printf '%s' "$4" | tr , ' '); do echo "NodeName=$node NodeAddr=127.0.0.1"; done;;
    esac;;
esac
""",
    "srun": 'for line; do :; done; exec sh -c "$line"\n',
}


class StandInSlurm:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.home = folder / "slurm", folder / "home"
        self.home.mkdir()
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "queue").mkdir()
        (self.folder / "calls").write_text("")
        self.fails(0)
        self.queue("")
        for name, text in PROGRAMS.items():
            program = self.folder / "bin" / name
            head = f'#!/bin/sh\nstand_in={self.folder}\n[ {name} = srun ] || echo "{name} $*" >>"$stand_in/calls"\n'
            program.write_text(head + text)
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.folder / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("HOME", str(self.home))
        for module, name in ((slurm_job, "LOOK_S"), (slurm_asking, "PAUSE_S")):
            monkeypatch.setattr(module, name, 0.0)

    def queue(self, *answers: str) -> None:
        """What squeue answers, one after the other."""
        for file in (self.folder / "queue").iterdir():
            file.unlink()
        for number, answer in enumerate(answers):
            (self.folder / "queue" / f"{number:03d}").write_text(answer)

    def fails(self, times: int) -> None:
        """So often squeue gives no answer."""
        (self.folder / "fails").write_text(str(times))

    def row(self, state: str, *, nodes: str = "", comment: str = "", job: str = JOB, run: str = "night") -> str:
        return f"{job}|{state}|None|2026-11-23T20:52:49|{nodes}|motley-{run}|{comment}\n"

    def has_run(self, host: str, run: str = "night") -> None:
        """The nodes have something of it."""
        folder = self.home / ".motley/runs" / run / host
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text("{}")

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def cancelled(self) -> list[str]:
        return [line.removeprefix("scancel ") for line in self.calls if line.startswith("scancel ")]
