"""Where code of the user's is called: what it raises becomes a TaskError that names its file and line.

>>> with user_code(task.project):
...     sample = dataset[7]
Traceback (most recent call last):
TaskError: night.py:31: ValueError: no such picture. Mend it, and start again
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.distributed import DistError

from motley.trainer.devices.memory_shortage import names_memory
from motley.trainer.errors import TaskError, TrainerError, told
from motley.trainer.host.error_place import place

REMEDY = "Mend it, and start again"


@contextlib.contextmanager
def user_code(project: Path | None) -> Iterator[None]:
    """`project`: the folder that the user's files are in on this host; None where all code is ours.

    An error there is never taken for a connection that broke, whatever its words. Memory that runs out is no mistake;
    where only the device can tell whether it was that, `memory_shortage` finds the error as the cause of this one.
    """
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:
        if project is None or (names_memory(error) and not isinstance(error, DistError)):
            raise
        raise TaskError(f"{place(error, project)}: {told(error)[0]}", REMEDY) from error


def written_at(method: Callable[..., Any], project: Path | None) -> str:
    """`night.py:31: Night.loss`: where a method of the user's begins, and its name; of one of ours the name alone."""
    code = getattr(method, "__code__", None)
    if project is None or code is None or not Path(code.co_filename).is_relative_to(project):
        return method.__qualname__
    return f"{Path(code.co_filename).relative_to(project)}:{code.co_firstlineno}: {method.__qualname__}"
