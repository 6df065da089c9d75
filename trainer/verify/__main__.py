"""`python -m motley.trainer.verify`: a request in JSON on standard input, the answer in one line on standard output.

The answer is what `recomputed_step.recompute` gives, or `{"error", "remedy"}` with code 1. What the task prints goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        request = json.load(sys.stdin)
        try:
            from motley.trainer.errors import TrainerError
            from motley.trainer.verify.recomputed_step import recompute
        except ImportError as error:
            remedy = "Name a Python that has torch: --python"
            print(json.dumps({"error": f"{sys.executable} can't import torch: {error}", "remedy": remedy}), file=out)
            return 1
        try:
            answer = recompute(request)
        except TrainerError as error:
            print(json.dumps({"error": error.cause, "remedy": error.remedy}), file=out)
            return 1
        print(json.dumps(answer), file=out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
