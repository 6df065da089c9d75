"""What the tests of containers share: a real docker with a small image, and a stage whose hosts use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from motley.remote.provision.push_code import Tree
from tests.containers.dockerd import docker, make_image, make_torch_image, said
from tests.remote.stage import Stage, staged, stand_in_tree

IMAGE = "motley-test"
HANGS_S = 120.0


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))  # short: sockets lie in it
    try:
        with docker(folder) as reason:
            if reason:
                pytest.skip(reason)
            make_image(folder, IMAGE)
            yield IMAGE
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def torch_image(image: str) -> Iterator[str]:
    """With the torch that is installed here."""
    name = f"{image}-torch"
    make_torch_image(name)
    yield name
    said("image", "rm", name)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return stand_in_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
async def stage(tmp_path: Path, home: Path, stand_in: Tree, image: str) -> AsyncIterator[Stage]:  # noqa: ARG001
    async with staged(tmp_path, home, stand_in, HANGS_S) as made:
        yield made
