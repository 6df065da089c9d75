"""A verb that works in a child of its own, which ends with whoever asked: `calibrate` and `trial` of one device,
`verify` of one step.

The child gets the environment of a rank, or runs in the container of one, and takes nothing down with it when memory
runs out. Its lines are passed on; the last of them is `{"result": …}` or `{"error", "remedy"}`. When standard input
ends nobody waits any more: the child goes, with all that it has started.

    >>> in_child("calibrate", asked, sys.stdin.buffer, sys.stdout, what="measuring")
    0
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from motley.trainer.contract.calibration import Calibration
from motley.trainer.host import processes, rank_environment
from motley.trainer.host.paths import HERE, project_folder
from motley.trainer.supervisor import containers
from motley.trainer.supervisor.container_commands import exit_code

SILENT_S = 180.0  # without a word of the child
EXIT_S = 10.0  # from its last word to its end

Say = Callable[[dict[str, Any]], None]


def saying(stdout: TextIO) -> Say:
    """A line of JSON for each table."""

    def say(table: dict[str, Any]) -> None:
        print(json.dumps(table), file=stdout, flush=True)

    return say


def asked_on(stdin: BinaryIO, say: Say) -> Calibration | None:
    """The request in the first line; None when there is none, which is said then."""
    try:
        return Calibration.from_json(stdin.readline())
    except (ValueError, TypeError, KeyError) as error:
        say({"error": f"it was asked for something it does not know: {error!r}", "remedy": "Report this"})
        return None


def in_child(verb: str, asked: Calibration, stdin: BinaryIO, stdout: TextIO, *, what: str) -> int:
    """Have a child do the verb. `what` it is doing, for errors. 0 with a result, 1 without."""
    argv, env = [sys.executable, "-m", "motley.trainer", verb], environment(asked)
    label = label_of_child()
    runtime = asked.container.runtime if asked.container is not None else None
    if asked.container is not None:
        argv, env = containers.of_calibration(asked, verb, label, env)
    question = asked.for_child().to_json()
    return attended(argv, env, question, stdin, stdout, label=label, what=what, runtime=runtime)


def label_of_child() -> Path:
    """What a container of this process's child is found by; no folder of that name need be there."""
    return HERE / "calibrations" / f"{processes.boot_id()}-{os.getpid()}"


def attended(
    argv: Sequence[str],
    env: Mapping[str, str],
    question: str,
    stdin: BinaryIO,
    stdout: TextIO,
    *,
    label: Path,
    what: str,
    runtime: str | None = None,
    silent_s: float = SILENT_S,
    clear: Callable[[], object] = lambda: None,
) -> int:
    """Have a child answer a question of one line. `runtime`: it runs in a container of that, with this `label`.
    `clear` takes away what it was given, before its answer is told: nobody waits any longer then. 0 with a result, 1
    without."""
    say = saying(stdout)
    processes.become_subreaper()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        bufsize=0,
        preexec_fn=processes.die_with(os.getpid()),
    )
    assert child.stdin is not None
    assert child.stdout is not None
    last = b""  # its answer, passed on when nothing of it is left
    try:
        _ask(child.stdin, question)
        for line in _lines(child.stdout, stdin, silent_s):
            if line.startswith((b'{"result"', b'{"error"')):
                last = line
                break
            stdout.write(line.decode(errors="replace"))
            stdout.flush()
        else:
            code = child.wait(EXIT_S)
            say(_how_it_ended(code if runtime is None else exit_code(code), what))
    except _Gone:
        pass
    except (TimeoutError, subprocess.TimeoutExpired):
        say({"error": f"it said nothing for {silent_s:g} s", "remedy": "The machine may be overloaded; try again"})
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait()
        processes.end(label, grace_s=0.0, under=os.getpid())
        if runtime is not None:
            with contextlib.suppress(OSError):  # it ends by itself then, with what it was asked
                containers.end(runtime, label)
        clear()
    if last:
        stdout.write(last.decode(errors="replace"))
        stdout.flush()
    return int(not last.startswith(b'{"result"'))


def result_of(asked: Calibration, work: Callable[[Calibration, Say], dict[str, Any]]) -> int:
    """In the child: do what was asked and answer with its result, or with what was wrong. 0 with a result.

    What the user's code prints goes to standard error: the answers stay lines of their own.
    """
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        say = saying(out)
        say({"note": "importing torch"})
        from motley.trainer.errors import TrainerError
        from motley.trainer.tasks.user_code import user_code

        own = asked.own_task
        try:
            with user_code(project_folder(own.tree) if own is not None and own.tree else None):
                say({"result": work(asked, say)})
        except TrainerError as error:
            say({"error": error.cause, "remedy": error.remedy})
            return 1
        except (RuntimeError, OSError) as error:  # torch's own: a device that is not there, a driver that fails
            traceback.print_exc()
            first = (str(error) or type(error).__name__).splitlines()[0]
            say({"error": first, "remedy": "See that a run works on this device, or leave it out with devices"})
            return 1
    return 0


def environment(asked: Calibration) -> Mapping[str, str]:
    """As `trainer.supervisor.supervisor` gives it to a rank."""
    threads = asked.options.threads
    env = rank_environment.of_rank(asked.env, threads=threads, local_ranks=asked.devices, emulated=asked.emulated)
    return {**env, "GLOO_SOCKET_IFNAME": "lo"}


def _ask(pipe: IO[bytes], question: str) -> None:
    try:
        pipe.write(question.encode() + b"\n")
    except BrokenPipeError:
        return  # its end is seen where its answer is awaited


def _how_it_ended(code: int, what: str) -> dict[str, Any]:
    if code == -signal.SIGKILL:
        remedy = "Its memory may be too small for the batch: give the host max_batch, or leave it out"
        return {"error": f"{what} was ended by the system (SIGKILL)", "remedy": remedy}
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return {"error": f"{what} ended {how} without a result", "remedy": "Look at what it printed"}


class _Gone(Exception):
    """Standard input has ended: nobody waits for the result."""


def _lines(source: IO[bytes], stdin: BinaryIO, silent_s: float) -> Iterator[bytes]:
    """The child's lines until it closes its output. Raises _Gone, or TimeoutError when it says nothing for long."""
    rest = b""
    while True:
        ready, _, _ = select.select([source, stdin], [], [], silent_s)
        if not ready:
            raise TimeoutError
        if stdin in ready and not os.read(stdin.fileno(), 4096):
            raise _Gone
        if source in ready:
            data = os.read(source.fileno(), 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from (line + b"\n" for line in whole)
