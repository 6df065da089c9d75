"""Which Python this is, and which torch it has, read from its files: importing torch takes seconds.

Imported by `trainer.bootstrap.probe`, and run as it is in a container, where nothing of ours is: it stands alone, and
says what it has to say in a line that starts with `motley:`.
"""

from __future__ import annotations

import json
import os
import re
import sys


def torch_version() -> tuple[str, str]:
    """Version and CUDA version of torch; both empty where there is none."""
    import importlib.util

    spec = importlib.util.find_spec("torch")  # looks for it, and imports nothing of it
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    try:
        with open(os.path.join(folders[0] if folders else "", "version.py"), errors="replace") as file:
            source = file.read()
    except OSError:  # none, or what an uninstallation has left
        return "", ""
    version = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", source)
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", source, re.MULTILINE)
    return (version.group(1) if version else ""), (cuda.group(1) if cuda else "")


def main() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    torch, cuda = torch_version() if sys.version_info >= (3, 8) else ("", "")
    print("motley:" + json.dumps({"python": python, "torch": torch, "torch_cuda": cuda}))


if __name__ == "__main__":
    main()
