"""Scripts with a loop of their own as ranks of a run: real processes, a real coordinator in this one.

>>> async with running(tmp_path, SCRIPT, members=2) as run:
...     await run.line(1, "step 5")
...     run.kill(1)
...     assert await run.codes() == [0, -9]
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import json
import os
import runpy
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.spec import BalanceOptions, Spec
from tests.trainer.coordinating import coordinating, spec
from tests.trainer.ranks import with_torch

BOUND_S = 150.0


def as_script(file: Path, environment: Mapping[str, str], home: Path) -> None:
    """Run a file as `python file` does, in a process that has imported torch already."""
    os.environ.update(environment)
    os.chdir(file.parent)
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [str(file)]
    code: Any = 0
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    atexit._run_exitfuncs()
    os._exit(int(code))


@dataclass
class Run:
    folder: Path
    spec: Spec
    script: Path
    ranks: dict[int, ForkServerProcess] = field(default_factory=dict)

    def home(self, member: int) -> Path:
        return self.folder / f"box{member}"

    def start(self, member: int, *, anew: bool = False) -> None:
        home = self.home(member)
        home.mkdir(exist_ok=True)
        (home / "spec.json").write_text(dataclasses.replace(self.spec, host=f"box{member}").to_json())
        env = {"MOTLEY_DIR": str(home), "MOTLEY_MEMBER": str(member), "OMP_NUM_THREADS": "1"}
        env["HOME"] = str(Path.home())
        env |= {"MOTLEY_ANEW": "1"} if anew else {}
        process = with_torch().Process(target=as_script, args=(self.script, env, home), daemon=True)
        process.start()
        self.ranks[member] = process

    def lines(self, member: int, file: str = "out") -> list[str]:
        path = self.home(member) / file
        return path.read_text().splitlines() if path.exists() else []

    async def line(self, member: int, begins: str) -> None:
        """Wait for a line of its output that begins so."""
        deadline = asyncio.get_running_loop().time() + BOUND_S
        while not self.said(member, begins):
            assert self.ranks[member].is_alive(), self.errors()
            assert asyncio.get_running_loop().time() < deadline, (begins, self.lines(member)[-9:])
            await asyncio.sleep(0.02)

    def kill(self, member: int) -> None:
        self.ranks[member].kill()

    async def codes(self) -> list[int | None]:
        await asyncio.gather(*(asyncio.to_thread(process.join, BOUND_S) for process in self.ranks.values()))
        return [process.exitcode for process in self.ranks.values()]

    def said(self, member: int, begins: str) -> list[str]:
        return [line for line in self.lines(member) if line.startswith(begins)]

    def told(self, member: int) -> Any:
        """What the script printed in JSON as its last line."""
        return json.loads(self.lines(member)[-1])

    def errors(self) -> list[list[str]]:
        return [self.lines(member, "err")[-9:] for member in self.ranks]


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    script: str,
    *,
    members: int,
    shares: tuple[int, ...] = (),
    resume: str | None = None,
    policy: Any = "static",
    own_policy: OwnPolicy | None = None,
    devices: Sequence[str] = (),
    **options: Any,
) -> AsyncIterator[Run]:
    """All members are started. `shares`: fixed ones. `own_policy`: where that is `policy`. `devices`: by member."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "train.py"
    file.write_text(script)
    given = dataclasses.replace(
        spec(members, lost_after_s=BOUND_S, **options),
        balance=BalanceOptions(policy=policy, shares=shares),
        resume=resume,
        own_policy=own_policy,
    )
    if devices:
        members_on = zip(given.members, devices, strict=True)
        given = dataclasses.replace(given, members=tuple(dataclasses.replace(m, device=d) for m, d in members_on))
    run = Run(folder, given, file)
    run.home(0).mkdir()
    async with coordinating(given, run.home(0)):
        try:
            for member in range(members):
                run.start(member)
            yield run
        finally:
            for process in run.ranks.values():
                process.kill()
