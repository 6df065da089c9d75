"""What a process said last is found in the end of its output, whatever is printed after it."""

from __future__ import annotations

import signal

from motley.remote.diagnosis.causes import find
from motley.remote.diagnosis.tracebacks import read, shown

HEAD = 'Traceback (most recent call last):\n  File "train.py", line 20, in <module>\n    main()\n'


def test_the_error_is_found_among_what_is_printed_after_it() -> None:
    """torch marks each line with the rank, warns after it, and an interpreter that ends complains."""
    tail = (
        "[rank1]: Traceback (most recent call last):\n"
        '[rank1]:   File "/home/ada/.motley/code/0123456789abcdef/train.py", line 7, in <module>\n'
        "[rank1]:     model(batch)\n"
        "[rank1]:     ^^^^^^^^^^^^\n"
        "[rank1]: RuntimeError: Expected all tensors to be on the same device\n"
        "[rank1]:[W1121 19:00:01.1 ProcessGroupNCCL.cpp:1479] Warning: destroy_process_group() was not called\n"
        "Exception ignored in: <function Pool.__del__ at 0x7f>\n"
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3.11/multiprocessing/pool.py", line 271, in __del__\n'
        "    self._change_notifier.put(None)\n"
        "OSError: [Errno 9] Bad file descriptor\n"
    )
    words = read(tail.splitlines())
    assert words.error == "RuntimeError: Expected all tensors to be on the same device"
    assert shown(words, 8) == ('File "train.py", line 7, in <module>', "  model(batch)")


def test_an_error_that_only_announces_the_next_line_is_told_with_it() -> None:
    said = (
        "RuntimeError: Error(s) in loading state_dict for Net:\n        size mismatch for fc.weight\n        and more"
    )
    assert read((HEAD + said).splitlines()).error == (
        "RuntimeError: Error(s) in loading state_dict for Net: size mismatch for fc.weight"
    )


def test_a_progress_bar_does_not_hide_the_traceback() -> None:
    tail = f" 50%|█████     | 1/2 [00:01<00:01, 1.1s/it]{HEAD}ValueError: no such layer\n 50%|█████     | 1/2"
    assert read(tail.splitlines()).error == "ValueError: no such layer"


def test_what_a_worker_died_of_is_the_cause() -> None:
    tail = (
        'Traceback (most recent call last):\n  File "train.py", line 5, in <module>\n    for batch in loader:\n'
        "OSError: Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "/venv/lib/python3.11/site-packages/torch/utils/data/_utils/worker.py", line 351, in _worker_loop\n'
        "    data = fetcher.fetch(index)\n"
        "OSError: [Errno 24] Too many open files: 'data/7.png'\n\n"
    )
    words = read(tail.splitlines())
    assert words.error == "OSError: [Errno 24] Too many open files: 'data/7.png'"
    found = find(words.texts, None, host="box1")
    assert found is not None
    assert found.name == "open_files"


def test_a_cause_is_found_behind_the_error_that_wraps_it() -> None:
    tail = (
        f"{HEAD}ModuleNotFoundError: No module named 'einops'\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        f"{HEAD}RuntimeError: the model can't be made\n"
    )
    words = read(tail.splitlines())
    assert words.error == "RuntimeError: the model can't be made"
    found = find(words.texts, None, host="box1")
    assert found is not None
    assert found.name == "module"


def test_a_c_plus_plus_exception_that_nobody_caught_is_the_error() -> None:
    tail = (
        "epoch 3\nterminate called after throwing an instance of 'c10::DistBackendError'\n"
        "  what():  [PG 0 Rank 1] Process group watchdog thread terminated with exception: [Rank 1] Watchdog caught "
        "collective operation timeout: WorkNCCL(SeqNum=199, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600013 ms\n"
        "Exception raised from checkTimeout at ProcessGroupNCCL.cpp:632 (most recent call first):\n"
        + "".join(f"frame #{n}: c10::Error::Error + 0x96 (0x7f)\n" for n in range(20))
    )
    words = read(tail.splitlines())
    assert words.error.startswith("[PG 0 Rank 1] Process group watchdog thread terminated")
    found = find(words.texts, signal.SIGABRT, host="box1")
    assert found is not None
    assert (found.name, found.aftermath) == ("peer_gone", True)


def test_an_error_that_was_printed_long_before_is_not_why_something_killed_the_process() -> None:
    lines = [*HEAD.splitlines(), "ValueError: a bad sample, left out", *(f"step {n}" for n in range(20))]
    assert read(lines, near=6).error == ""
    assert read(lines[:6], near=6).error == "ValueError: a bad sample, left out"


def test_without_an_exception_the_last_line_is_what_it_said() -> None:
    words = read(["usage: train.py [-h] [--lr LR]", "train.py: error: unrecognized arguments: --epoch 3", ""])
    assert (words.error, words.raised) == ("train.py: error: unrecognized arguments: --epoch 3", False)
    assert read([]).error == read(["", ""]).error == ""


def test_of_a_long_traceback_the_last_calls_are_shown_and_the_users_own_line() -> None:
    library = [
        line
        for n in range(30)
        for line in (
            f'  File "/venv/lib/python3.11/site-packages/torch/nn/{n}.py", line {n}, in forward',
            "    return x",
        )
    ]
    lines = [*HEAD.splitlines(), *library, "ValueError: no"]
    assert shown(read(lines), 5) == (
        'File "train.py", line 20, in <module>',
        "  main() …",
        'File "torch/nn/29.py", line 29, in forward',
        "  return x",
    )
    assert len(shown(read(lines), 4)) == 4
    assert shown(read([*lines[:3], "ValueError: no"]), 4) == ('File "train.py", line 20, in <module>', "  main()")
