"""A virtual environment with what a list of packages and a requirements file name, kept as `~/.motley/env/<hash>/`.
Runs on a host: see `trainer.bootstrap`.

One line of JSON comes in: `{"packages": text of a list with hashes or "", "requirements": text, "wheels": folder
below the home folder or "", "key": hash of all of them, "system": bool, "build": bool}`. `{"note": text}` tells how it
goes; the answer is `{"ok": true, "python": path, "built": bool}`, with no path when there is none and none is to be
built; or `{"ok": false, "error", "said", "remedy"}`.

`motley.json` is written when all else is safe on the disk: an environment without it is half-built, and made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import site
import sys
from typing import Any, BinaryIO

from motley.trainer.bootstrap.durable import sync_disk, sync_folder, write
from motley.trainer.bootstrap.files import HOME, OURS, answer
from motley.trainer.bootstrap.long_command import LAST, follow

ENV = os.path.join(OURS, "env")
CACHE = os.path.join(OURS, "cache", "pip")
DONE = "motley.json"
TOLD = "(Collecting|Downloading|Processing|Building|Installing|Looking in) "
DIGITS = 24


def main(_argv: list[str], stdin: BinaryIO) -> None:
    request = json.loads(stdin.readline())
    words = [request["key"], sys.version, sys.prefix, request["system"]]
    folder = os.path.join(ENV, hashlib.sha256(json.dumps(words).encode()).hexdigest()[:DIGITS])
    python = os.path.join(folder, "bin", "python")
    try:
        if _is_done(folder, python):
            answer({"ok": True, "python": python, "built": False})
        elif not request["build"]:
            answer({"ok": True, "python": "", "built": False})
        else:
            os.makedirs(ENV, mode=0o700, exist_ok=True)
            lock = os.open(ENV, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                answer({"note": "waiting for another one that is being built there"})
                fcntl.flock(lock, fcntl.LOCK_EX)
            built = not _is_done(folder, python)
            if built:
                _build(folder, python, request)
            answer({"ok": True, "python": python, "built": built})
    except Failed as failed:
        answer({"ok": False, "error": failed.error, "said": failed.said, "remedy": failed.remedy})
    except OSError as error:
        answer({"ok": False, "error": f"{error.strerror}: {error.filename}", "said": [], "remedy": ""})


class Failed(Exception):
    def __init__(self, error: str, said: list[str], remedy: str = "") -> None:
        self.error, self.said, self.remedy = error, said[-LAST:], remedy


def _is_done(folder: str, python: str) -> bool:
    """Whole, and the Python that it was made of is still there."""
    if not os.path.isfile(os.path.join(folder, DONE)) or not os.access(python, os.X_OK):
        return False
    os.utime(folder)  # `motley clean` goes by it
    return True


def _build(folder: str, python: str, request: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    answer({"note": "making a virtual environment"})
    # pip is the one of this Python where there is one: quicker, and it needs no python3-venv.
    borrowed = request["system"] and importlib.util.find_spec("pip") is not None
    options = ["--system-site-packages"] * bool(request["system"]) + ["--without-pip"] * borrowed
    try:
        _run([sys.executable, "-m", "venv", *options, folder])
    except Failed as failed:
        remedy = ""
        if "ensurepip" in "".join(failed.said):
            remedy = f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise Failed("python -m venv failed", failed.said, remedy) from None
    if request["system"] and sys.prefix != sys.base_prefix:
        _show_outer(folder)
    os.makedirs(CACHE, mode=0o700, exist_ok=True)
    os.utime(CACHE)  # `motley clean` goes by it
    pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    pip += ["--cache-dir", CACHE]  # we write nowhere but to ~/.motley
    offline = ["--no-index", "--find-links", os.path.join(HOME, request["wheels"])] if request["wheels"] else []
    os.chdir(folder)  # so that nobody cleans it away meanwhile
    # The list is whole: nothing else is looked for, and so no torch either. The user's file comes last, and counts.
    whole = ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    for name, words, what in (
        ("packages.txt", whole, "the list of packages"),
        ("requirements.txt", [], "requirements"),
    ):
        if request[name[:-4]].strip():
            with open(name, "w") as file:
                file.write(request[name[:-4]])
            try:
                _run([*pip, *offline, *words, "-r", name])
            except Failed as failed:
                raise Failed("pip could not install " + what, failed.said) from None
    answer({"note": "waiting for the disk"})
    sync_disk(folder)
    write(os.path.join(folder, DONE), json.dumps({"python": sys.version, "key": request["key"]}).encode())
    sync_folder(ENV)


def _show_outer(folder: str) -> None:
    """The Python is itself that of a virtual environment, whose packages a new one would not see."""
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    with open(os.path.join(folder, "lib", library, "site-packages", "motley-outer.pth"), "w") as file:
        file.writelines(place + "\n" for place in site.getsitepackages())


def _run(argv: list[str]) -> None:
    """Raises Failed with what it said."""
    code, said = follow(argv, TOLD)
    if code != 0:
        raise Failed("", said or [f"exit code {code}"])
