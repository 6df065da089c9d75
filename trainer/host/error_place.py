"""Where in the user's own files an error comes from, for whoever is told of it.

>>> place(error, project_folder("8f5a…"))
'night.py:31'
"""

from __future__ import annotations

import traceback
from pathlib import Path


def place(error: BaseException, project: Path, otherwise: str = "the task") -> str:
    """`night.py:31`: the innermost line of the project that an error has come through, else `otherwise`. A line that
    can't be parsed names itself."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename, project)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame for frame in frames if Path(frame.filename).is_relative_to(project)]
    return f"{_relative(here[-1].filename, project)}:{here[-1].lineno}" if here else otherwise


def _relative(path: str, project: Path) -> str:
    return str(Path(path).relative_to(project)) if Path(path).is_relative_to(project) else path
