"""A picture of any kind becomes a square of colour; a file that is none is told by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.errors import DataError
from motley.trainer.tasks.image_folder.picture import picture, problem
from tests.support.pictures import picture_of, pillow


def saved(image: Any, path: Path, **how: Any) -> Path:
    image.save(path, **how)
    return path


def striped(width: int, height: int) -> Any:
    """Red, green and blue from left to right, or from the top where it is higher than wide."""
    bands, image = [(255, 0, 0), (0, 255, 0), (0, 0, 255)], pillow().new("RGB", (width, height))
    for place, colour in enumerate(bands):
        box = (place * width // 3, 0, width, height) if width >= height else (0, place * height // 3, width, height)
        image.paste(colour, box)
    return image


@pytest.mark.parametrize(("width", "height"), [(96, 32), (32, 96), (300, 100), (18, 6)])
def test_the_middle_is_cut_out_of_what_is_scaled_to_the_size(tmp_path: Path, width: int, height: int) -> None:
    found = picture(saved(striped(width, height), tmp_path / "1.png"), 16)
    assert (found.dtype, found.shape, found.is_contiguous()) == (torch.uint8, (3, 16, 16), True)
    assert found[:, 8, 8].tolist() == [0, 255, 0]
    assert found[:, 2:14, 2:14].flatten(1).float().mean(dim=1).tolist() == [0, 255, 0]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_pictures_of_every_kind_are_three_channels_of_bytes(tmp_path: Path, mode: str) -> None:
    grey = pillow().new("L", (20, 20), 128)
    if mode in ("I;16", "I"):  # 128 of 255, in 16 bits
        wide = grey.convert("I").point(lambda value: value * 256)
        path = saved(wide if mode == "I" else wide.convert("I;16"), tmp_path / ("1.tif" if mode == "I" else "1.png"))
    else:
        path = saved(grey.convert("RGB").convert(mode), tmp_path / ("1.tif" if mode == "CMYK" else "1.png"))
    found = picture(path, 8)
    assert found.shape == (3, 8, 8)
    if mode != "1":
        assert (found.int() - 128).abs().max() <= 4, mode


def test_it_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = pillow().new("RGB", (20, 20), (255, 0, 0))
    image.paste((0, 0, 255), (0, 10, 20, 20))  # blue below
    exif = pillow().Exif()
    exif[0x0112] = 3  # upside down
    found = picture(saved(image, tmp_path / "1.png", exif=exif), 8)
    assert found[:, 0, 4].tolist() == [0, 0, 255]


def test_a_large_jpeg_looks_as_it_does_when_all_of_it_is_decoded(tmp_path: Path) -> None:
    image = picture_of("red", 1, 24, 24).resize((800, 800))
    as_jpeg = picture(saved(image, tmp_path / "1.jpg", quality=95), 16)
    as_png = picture(saved(image, tmp_path / "1.png"), 16)
    assert (as_jpeg.int() - as_png.int()).abs().float().mean() < 3


def test_files_that_are_no_pictures_are_told_by_their_path(tmp_path: Path) -> None:
    version = pillow().__version__
    (tmp_path / "notes.txt").write_text("buy milk")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("notes.txt", "empty.jpg"):
        assert problem(tmp_path / name) == f"{tmp_path / name} is no picture that Pillow {version} can read"
        with pytest.raises(DataError, match=r"is no picture that Pillow .* can read\. Replace it, or take it out"):
            picture(tmp_path / name, 8)
    assert problem(tmp_path / "gone.png") == f"{tmp_path / 'gone.png'}: No such file or directory"
    for name in ("1.png", "1.jpg", "1.bmp", "1.webp", "1.gif", "1.ppm", "1.tif"):
        assert problem(saved(picture_of("red", 0, 8, 8), tmp_path / name)) == ""


@pytest.mark.parametrize("end", ["png", "jpg"])
def test_a_picture_that_is_cut_short_is_told_by_its_path_when_it_is_drawn(tmp_path: Path, end: str) -> None:
    path = saved(picture_of("red", 0, 64, 64), tmp_path / f"1.{end}")
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(DataError) as caught:
        picture(path, 8)
    assert caught.value.cause.startswith(f"{path} can't be decoded by Pillow {pillow().__version__}: ")
    assert "truncated" in caught.value.cause.lower()
    assert "\n" not in str(caught.value)
