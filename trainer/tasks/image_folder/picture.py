"""A picture in a file becomes a square of bytes, by Pillow, which is needed on the hosts for nothing else.

>>> picture(Path("cat.jpg"), size=64).shape
torch.Size([3, 64, 64])

It is turned as its camera says (EXIF), its shorter side scaled to `size` (bilinear, over all pixels that one stands
for) and the middle cut out, in colour whatever it was.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from motley.trainer.errors import DataError

CHANNELS = 3
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG: most files are known without Pillow
_REMEDY = "Replace it, or take it out of the folder that [data] names"


def pillow(module: str = "Image") -> ModuleType:
    """A module of Pillow. Raises DataError where it can't be imported."""
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        install = shlex.join([sys.executable, "-m", "pip", "install", "Pillow"])
        missing = isinstance(error, ModuleNotFoundError) and error.name == "PIL"
        why = "has no Pillow" if missing else f"can't import Pillow ({error})"
        raise DataError(f"{sys.executable} {why}, which decodes the pictures of image_folder", install) from error


def problem(path: Path) -> str:
    """What is wrong with a file by its first bytes; empty when it seems to be a picture."""
    try:
        with path.open("rb") as file:
            if file.read(8).startswith(_BEGINNINGS):
                return ""
        with pillow().open(path):
            return ""
    except Exception as error:  # noqa: BLE001 - of files that are no pictures Pillow raises all kinds
        return _told(path, error).cause


def picture(path: Path, size: int) -> Tensor:
    """uint8 [3, size, size]. Raises DataError that names the file."""
    image, ops = pillow(), pillow("ImageOps")
    try:
        with image.open(path) as opened:
            opened.draft("RGB", (2 * size, 2 * size))  # of a large JPEG no more is decoded than that takes
            square = ops.fit(_in_colour(ops.exif_transpose(opened)), (size, size), image.Resampling.BILINEAR)
    except Exception as error:
        raise _told(path, error) from error
    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return pixels.reshape(size, size, CHANNELS).permute(2, 0, 1).contiguous()


def _in_colour(image: Any) -> Any:
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bits of grey, which convert() would cut off at 255
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode == "P":  # of a transparent colour convert() warns, otherwise
        image = image.convert("RGBA")
    return image.convert("RGB")


def _told(path: Path, error: Exception) -> DataError:
    """In one line, whatever Pillow says."""
    if isinstance(error, DataError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path}: {error.strerror}", _REMEDY)
    version = getattr(pillow(), "__version__", "")
    if type(error).__name__ == "UnidentifiedImageError":
        return DataError(f"{path} is no picture that Pillow {version} can read", _REMEDY)
    said = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} can't be decoded by Pillow {version}: {said}", _REMEDY)
