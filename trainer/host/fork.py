"""A process that is forked, and goes on as `python -m motley.trainer WORDS` would in another environment.

It saves the start of a Python and its imports: a tenth of a second on a quick machine, seconds on a small board. Which
it is shows /proc as if it had been executed (`trainer.host.process_title`). What a program reads of its environment at
its very start can't be changed by a fork any more, so `possible` asks first.

    >>> possible(env, ["forkserver", "--run", "night"])
    True
    >>> pid = os.fork()
    >>> if pid == 0:
    ...     go_on_as(["forkserver", "--run", "night"], env, output=2, keep=set())    # never returns
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence

from motley.trainer.host import process_title, rank_environment

READ_AT_START = ("LD_", "GLIBC_", "MALLOC_", "PYTHON")  # by the loader, the C library and Python
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def words_of(words: Sequence[str]) -> list[str]:
    """What /proc shows of it: that it runs the same Python as this process."""
    return [sys.orig_argv[0], "-m", "motley.trainer", *words]


def possible(env: Mapping[str, str], words: Sequence[str], *, room: int = 0) -> bool:
    """Whether a fork of this process can be that in this environment, which may yet grow by `room` bytes.

    glibc's limits for keeping memory may differ: they can be set later, too (`environment.keep_memory`).
    """
    mine = os.environ
    differing = {
        name for name in {*env, *mine} if env.get(name) != mine.get(name)
    } - rank_environment.KEEP_MEMORY.keys()
    return not any(name.startswith(READ_AT_START) for name in differing) and process_title.fits(
        {**env, "_": "." * room}, words_of(words)
    )


def go_on_as(
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    output: int,
    keep: Collection[int],
    begun: Callable[[], object] = lambda: None,
) -> None:
    """In a process that was forked just now, from one with a single thread. Never returns.

    `output` is the descriptor that takes what it prints; all others are closed but those to `keep`. `begun` is called
    when it is what it is to be.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, target)
        close_all(besides=keep)
        process_title.write(env, words_of(words))
        sys.argv = [sys.argv[0], *words]
        begun()
        runpy.run_module("motley.trainer", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - nobody above: as the interpreter would do it
        import traceback  # where nothing goes wrong it is not needed

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


def close_all(*, besides: Collection[int]) -> None:
    """Every descriptor but the standard ones. Objects that hold one are not used any more, and never collected."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in besides:
            with contextlib.suppress(OSError):
                os.close(descriptor)


MESSAGE_BYTES = 256 * 1024  # the most that a socket takes at once, or less
