"""The libraries of language models: imported here alone, once a task needs them. What is missing is named.

>>> libraries.transformers().AutoConfig
>>> libraries.versions()
{'transformers': '5.23.0', 'peft': '0.21.2'}
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from types import ModuleType
from typing import Any

from motley.trainer.errors import TaskError

NAMES = ("transformers", "peft", "bitsandbytes", "datasets")


def transformers() -> Any:
    """Raises TaskError, as all of these do."""
    found = imported("transformers", "a language model")
    found.utils.logging.disable_progress_bar()  # a rank's log is no terminal
    return found


def peft() -> Any:
    return imported("peft", 'method = "lora" and "qlora"')


def bitsandbytes() -> Any:
    return imported("bitsandbytes", 'method = "qlora" and 8-bit optimizers')


def accelerate() -> Any:
    """transformers puts the parts of a model of 4 bits onto a device with it."""
    return imported("accelerate", 'method = "qlora"')


def imported(name: str, what_for: str, remedy: str = "") -> ModuleType:
    """`remedy`: in place of how to install it. Raises TaskError where it is missing, or does not go with what else is
    installed here."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        cause = f"there is no {missing} on this host: {what_for} needs {name}"
        raise TaskError(cause, remedy or f'[environment] packages = "llm" brings it; or {command(missing)}') from error
    except Exception as error:  # a library that does not fit to others raises anything at its import
        first = (str(error).strip().splitlines() or [""])[0]
        cause = f"{name} {versions().get(name, '')} can't be imported: {type(error).__name__}: {first}"
        other = f'[environment] packages = "llm" brings versions that go together; or {command("--upgrade " + name)}'
        raise TaskError(cause, remedy or other) from error


def command(package: str) -> str:
    """What installs it for the Python of this host."""
    return f"{sys.executable} -m pip install {package}"


def versions() -> dict[str, str]:
    """Of those that are installed, read from their files: nothing is imported."""
    found = {}
    for name in NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
