"""Folders of pictures for tests, made by Pillow where it is there.

>>> write_pictures(tmp_path, {"train/red": 8, "train/green": 8, "val/red": 2})
"""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

from tests.support.absent import not_here

COLOURS = {"red": (200, 60, 50), "green": (60, 190, 70), "blue": (50, 70, 210)}


def pillow() -> Any:
    """PIL.Image. Skips the test where there is none."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        return not_here("Pillow is not installed here; the pictures of image_folder are decoded with it")


def picture_of(colour: str, number: int, width: int, height: int) -> Any:
    """That colour under noise: no two numbers have the same."""
    drawn = random.Random(f"{colour} {number}")
    noise = drawn.randbytes(width * height * 3)
    pixels = bytes((3 * base + byte) // 4 for base, byte in zip(COLOURS[colour] * (width * height), noise))
    return pillow().frombytes("RGB", (width, height), pixels)


def write_pictures(
    folder: Path, counts: dict[str, int], *, width: int = 24, height: int = 18, ends: tuple[str, ...] = ("png", "jpg")
) -> None:
    """So many in each of these folders; the last part of its path is the colour."""
    for place, count in counts.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = f"{number:03}.{ends[number % len(ends)]}"
            picture_of(Path(place).name, number, width, height).save(folder / place / name)
