"""docs/failures.md, made from the table of causes.

python -m motley.remote.diagnosis.failures_page > docs/failures.md
"""

from __future__ import annotations

import sys

from motley.remote.diagnosis.causes import CAUSES, filled

PLACES = {"host": "HOST", "python": "PYTHON", "package": "PACKAGE", "port": "29500", "path": "PATH", "model": "MODEL"}


def page() -> str:
    """docs/failures.md."""
    rows = []
    for cause in CAUSES:
        found = filled(cause, PLACES)
        rows.append(f"| `{cause.example}` | {found.means} | {found.remedy.replace('|', chr(92) + '|')} |")
    return _BEFORE + "\n".join(rows) + "\n" + _AFTER


_BEFORE = """\
# When a run fails

When a rank fails, others fail after it, and what they say is mostly that a connection broke. So Motley tells first of
the rank that failed first: its error, how to fix it, and the last calls of its traceback, your own code included. The
others follow in a line each, with how much later they ended.

```
✖ box1: rank 2 failed: ModuleNotFoundError: No module named 'einops'
  → einops is not installed on box1. On box1: /usr/bin/python3 -m pip install einops; …
    File "train.py", line 3, in <module>
      import einops
    all of it: motley logs night --rank 2
    0.4 s later: rank 0 on desktop: RuntimeError: Connection closed by peer
    5.1 s later: rank 1 on laptop ended after it
```

The console shows it, `--plain` ends with it, and so does `motley logs RUN` of a run that has failed (on stderr). The
first error and how to fix it are the `cause` in `summary.json`, and what the command says last.

## Which one is first
- Times are compared on this machine's clock: each host's clock is measured as long as it is followed, so clocks that
  are minutes apart change nothing. What is left is the network's delay: below 0.05 s the order of two hosts is not
  known, and an error that is in the table below is taken for the cause of one that is not.
- An error of a rank's own comes before the word that another rank has gone, whichever was earlier; so does a crash (a
  signal such as SIGSEGV). A rank that something else killed comes after those, and before the ones that only lost it.
  A rank that was told to end is never the cause.
- What a rank said more than a minute before is in the log only: the run went on after it.

## What they say, and how to fix it
Where the error of the rank that failed first is one of these, how to fix it follows. The trainer's own errors (a data
set that is missing, a task that there is not) bring theirs along.

| a rank says | that is | how to fix it |
|---|---|---|
"""

_AFTER = """
This page is made from the definitions in `remote/diagnosis/causes.py`.

## Seeing all of it
`motley logs RUN --rank N` prints everything that a rank has printed; it is in `experiments/<run>/logs/rank_N.log`, too.
That goes on in `rank_N.1.log` when it holds 20 MB, and so forth; of several the first and the newest two stay.
Escape sequences and invisible characters are taken out of what is shown and kept.

A rank of a task that is killed starts again and takes part once more ([elastic.md](elastic.md)), and a
[script](script.md) is started anew: such an end is in the log, and counts as a failure only when it happens again and
again.
"""


if __name__ == "__main__":
    sys.stdout.write(page())
