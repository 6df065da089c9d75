"""`[data]` in cluster.toml: which of its keys go together, and with which task."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import ConfigError

HOST = '[[hosts]]\nname = "box1"\n'
PICTURES = '[run]\ntask = "resnet18/image_folder"\n'


def read(folder: Path, text: str, *overrides: str) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(HOST + text)
    return load(path, overrides)


@pytest.mark.parametrize("key", ["push", "path"])
def test_pictures_are_named_by_either_key(tmp_path: Path, key: str) -> None:
    cluster = read(tmp_path, f'{PICTURES}[data]\n{key} = "photos"\nimage_size = 96\n')
    assert (cluster.dataset, cluster.data.image_size) == ("image_folder", 96)
    assert read(tmp_path, PICTURES, f"data.{key}=photos").data.image_size == 64


def test_what_data_set_it_is_and_when_it_is_none_of_motley_s(tmp_path: Path) -> None:
    texts = ("", '[run]\ntask = "mlp/cifar10"\n', '[run]\ntask = "night.py"\n', '[run]\nscript = "train.py"\n')
    assert [read(tmp_path, text).dataset for text in texts] == ["digits", "cifar10", "", ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PICTURES, '4: run.task: image_folder is a folder of yours; name it in [data]: push = "photos"'),
        (PICTURES + "[data]\nimage_size = 96", "4: run.task: image_folder is a folder of yours; name it in [data]"),
        (PICTURES + '[data]\npath = "/a"\nimage_size = 7', "7: data.image_size: must be at least 8, is 7"),
        (PICTURES + '[data]\npath = "/a"\nimage_size = 1025', "7: data.image_size: must be at most 1024, is 1025"),
        (PICTURES + '[data]\npath = "/a"\nimage_size = "64"', "7: data.image_size: must be a whole number, is"),
        (PICTURES + "[data]\npush = 3", "6: data.push: must be text, is 3"),
        ("[data]\nimage_size = 96", "4: data.image_size: is for the data set image_folder, as in task = "),
        ('[run]\ntask = "night.py"\n[data]\nimage_size = 96', "6: data.image_size: is for the data set image_folder"),
        (
            '[run]\ntask = "resnet/image_folder"\n[data]\nimage_size = 9',
            "4: run.task: task 'resnet/image_folder': no mo",
        ),
        ('[data]\npush = "a"\npath = "b"', "4: data.push: path is given too; keep one of them"),
        ('[data]\npush = "-a"', '4: data.push: "-a" must not begin with -'),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{text}\n")
    (problem,) = caught.value.problems
    assert problem.startswith(f"cluster.toml:{expected}")


def test_a_task_of_the_command_line_takes_the_place_of_pictures_and_their_size(tmp_path: Path) -> None:
    text = f'{PICTURES}[data]\npath = "/data"\nimage_size = 96\n'
    assert read(tmp_path, text, "run.task=mlp/digits").data.image_size == 64
    assert read(tmp_path, text, "run.task=mlp/image_folder").data.image_size == 96
    with pytest.raises(ConfigError, match="is for the data set image_folder"):
        read(tmp_path, text, "run.task=mlp/digits", "data.image_size=96")


def test_of_a_script_it_is_a_key_that_it_does_not_heed(tmp_path: Path) -> None:
    cluster = read(tmp_path, '[run]\nscript = "train.py"\n[data]\nimage_size = 96\n')
    assert cluster.unheeded == ("data.image_size",)
