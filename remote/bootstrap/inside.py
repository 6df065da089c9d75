"""Which Python this is, and which torch it has, read from its files: importing torch takes seconds.

Imported by `remote.bootstrap.probe`, and run as it is in a container, where nothing of ours is: it stands alone, and
says what it has to say in a line that starts with `motley:`.
"""

from __future__ import annotations

import json
import re
import sys


def torch_version() -> tuple[str, str]:
    """Version and CUDA version of torch; both empty where there is none."""
    from importlib import metadata

    try:
        found = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return "", ""
    try:
        with open(str(found.locate_file("torch/version.py")), errors="replace") as file:
            source = file.read()
    except OSError:
        source = ""
    version = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", source)
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", source, re.MULTILINE)
    return (version.group(1) if version else found.version), (cuda.group(1) if cuda else "")


def main() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    torch, cuda = torch_version() if sys.version_info >= (3, 8) else ("", "")
    print("motley:" + json.dumps({"python": python, "torch": torch, "torch_cuda": cuda}))


if __name__ == "__main__":
    main()
