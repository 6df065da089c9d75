"""What an exported folder may hold: plain files beside each other, among them one of ours that says what they are.

>>> is_plain("adapter_model.safetensors"), is_plain("../bashrc")
(True, False)
"""

from __future__ import annotations

import re

FOLDER = "folder"  # the format of an export that is one
MARK = "motley.json"  # {"files": [names], …}: the metadata; by it a folder is known as one that may be written over
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


def is_plain(name: object) -> bool:
    """Whether it is the name of a file of the folder itself."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not name.endswith(".part")
