"""Which Python this is, and which torch, Pillow and further libraries it has, read from their files: importing torch
takes seconds.

Imported by `trainer.bootstrap.probe`, and run as it is in a container, where nothing of ours is: it stands alone, and
says what it has to say in a line that starts with `motley:`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable

OF_LANGUAGE_MODELS = ("transformers", "peft", "bitsandbytes", "pyarrow")


def torch_version() -> tuple[str, str]:
    """Its version, and what it is built for, with the version of that, in the words of its own file: "hip 6.4"; both
    empty where there is none, the second one where it knows the CPU alone. `trainer.devices.names.build_of` knows what
    the words mean."""
    source = version_file("torch", "version.py")
    told = re.findall(r"^(?!__|git_)(\w+)\b[^=\n]*=\s*['\"](\d[^'\"]*)", source, re.MULTILINE)
    return version_in(source), " ".join(told[0]) if told else ""


def pillow_version() -> str:
    """Empty where there is none."""
    return version_in(version_file("PIL", "_version.py"))


def versions(packages: Iterable[str]) -> list[dict[str, str]]:
    """Name and version of each, as pip has installed it; the version is empty where it is not there."""
    wanted = list(packages)
    if not wanted:  # what follows takes longer to import than all the rest of a look
        return []
    import importlib.metadata

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package) or ""
        except (importlib.metadata.PackageNotFoundError, KeyError):  # or only what an uninstallation has left
            return ""

    return [{"name": package, "version": version(package)} for package in wanted]


def version_in(source: str) -> str:
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", source)
    return found.group(1) if found else ""


def version_file(package: str, name: str) -> str:
    """The text of a package's file; empty where there is none, or only what an uninstallation has left."""
    import importlib.util

    spec = importlib.util.find_spec(package)  # looks for it, and imports nothing of it
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    try:
        with open(os.path.join(folders[0] if folders else "", name), errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def main() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    torch, build = torch_version() if sys.version_info >= (3, 8) else ("", "")
    pillow = pillow_version() if sys.version_info >= (3, 8) else ""
    libraries = versions(OF_LANGUAGE_MODELS) if sys.version_info >= (3, 8) else []
    told = {"python": python, "torch": torch, "torch_build": build, "pillow": pillow, "libraries": libraries}
    print("motley:" + json.dumps(told))


if __name__ == "__main__":
    main()
