"""`python -m motley.trainer.verify`: a request in a line of JSON on standard input, lines of JSON on standard output.

`{"note": …}` while it works; the last one is `{"result": …}`, what `recomputed_step.recompute` gives, or `{"error",
"remedy"}` with code 1. What the task prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from motley.trainer.host.paths import project_folder


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(table: dict[str, Any]) -> None:
            print(json.dumps(table), file=out, flush=True)

        request = json.loads(sys.stdin.readline())
        say({"note": "importing torch"})
        try:
            from motley.trainer.errors import TrainerError
            from motley.trainer.tasks.user_code import user_code
            from motley.trainer.verify.recomputed_step import recompute
        except ImportError as error:
            remedy = "Name a Python that has torch"
            say({"error": f"{sys.executable} can't import torch: {error}", "remedy": remedy})
            return 1
        try:
            with user_code(_project(request)):
                say({"result": recompute(request, lambda text: say({"note": text}))})
        except TrainerError as error:
            say({"error": error.cause, "remedy": error.remedy})
            return 1
        except (RuntimeError, OSError) as error:  # torch's own: memory, a file
            traceback.print_exc()
            first = (str(error) or type(error).__name__).splitlines()[0]
            say({"error": first, "remedy": "See that a run works there on the CPU"})
            return 1
    return 0


def _project(request: dict[str, Any]) -> Path | None:
    """Where a task of the user's own lies; None of one that comes with Motley."""
    tree = (request.get("own_task") or {}).get("tree")
    return project_folder(tree) if tree else None


if __name__ == "__main__":
    raise SystemExit(main())
