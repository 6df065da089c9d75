"""A folder of the user's for containers, as `[environment] mounts` names it. Standard library only.

Like `docker run -v`: the folder on the host, where it is to be inside, and whether it may only be read there. A folder
that names no other place is at its own path, and one may write where nothing says `ro`: what it is for, a cache of
models, is of no use otherwise. The user inside is the one outside, so that nobody gets rights that they have not.

    >>> parse("~/.cache/huggingface")
    Folder(source='~/.cache/huggingface', target='~/.cache/huggingface', writable=True)
    >>> parse("/srv/models:/models:ro")
    Folder(source='/srv/models', target='/models', writable=False)
"""

from __future__ import annotations

from dataclasses import dataclass

OF_THE_SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")  # inside
OURS = "~/.motley"


@dataclass(frozen=True, slots=True)
class Folder:
    """Each path is absolute, or begins with ~/, the user's home folder, which is the same inside."""

    source: str
    target: str
    writable: bool


def parse(text: str) -> Folder:
    """Raises ValueError that says what is wrong with it and how to write it."""
    source, *rest = text.split(":")
    mode = rest.pop() if rest and rest[-1] in ("ro", "rw") else "rw"
    if len(rest) > 1:
        raise ValueError('it is "FOLDER", "FOLDER:PLACE INSIDE", each with :ro behind it where it is only to be read')
    source = _path(source)
    target = _path(rest[0]) if rest else source
    if target == "/" or any(target == one or target.startswith(f"{one}/") for one in OF_THE_SYSTEM):
        raise ValueError(f"{target} is of the image inside; name another place: {source}:/models")
    if any(path == OURS or path.startswith(f"{OURS}/") for path in (source, target)):
        raise ValueError(f"{OURS} is Motley's own, of which containers have what they need")
    return Folder(source, target, mode == "rw")


def _path(path: str) -> str:
    """Without a slash at its end. What leads elsewhere than it seems to is refused."""
    parts = path.split("/")
    if parts[0] not in ("", "~") or len(parts) < 2:
        raise ValueError("a folder begins with / or ~/")
    if ".." in parts or "." in parts:
        raise ValueError("a folder is named without . and ..")
    odd = next((char for char in path if not char.isprintable()), None)
    if odd is not None:
        raise ValueError(f"it holds the character U+{ord(odd):04X}")
    kept = [part for part in parts[1:] if part]
    if parts[0] == "~" and not kept:
        raise ValueError("the whole home folder is not handed in; name the folders in it that are needed")
    return "/".join([parts[0], *kept]) or "/"
