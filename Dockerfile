# An image that the ranks of a run can train in: Python, torch, and what packages.txt and requirements.txt name
# (docs/environment.md).
#
# With dockerfile = "Dockerfile" under [environment], every host builds it, with nothing around it but a packages.txt and
# a requirements.txt, each empty where cluster.toml names none. `image` there is what it begins with, such as one that has
# torch already; one that is named by its digest (python@sha256:...) is the same for ever.
# By hand: docker build --tag mine --build-arg BASE=pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime .

ARG BASE=python:3.12.12-slim-bookworm
FROM ${BASE}

# Where a GPU is of no use, the address of PyTorch's CPU index here spares some GB. Without a password: it would stay in
# the image.
ARG TORCH_INDEX=

# A torch that is there and new enough stays as it is, and so does a numpy.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1
RUN python3 -c 'import importlib.metadata as m; assert tuple(map(int, m.version("torch").split(".")[:2])) >= (2, 6)' \
        2>/dev/null || python3 -m pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
RUN python3 -c 'import importlib.metadata as m; m.version("numpy")' 2>/dev/null || python3 -m pip install \
        'numpy==2.2.6; python_version < "3.11"' 'numpy==2.4.6; python_version >= "3.11"'

# A list that comes with Motley: nothing else is looked for, so no other torch.
RUN --mount=type=bind,source=packages.txt,target=/tmp/motley/packages.txt \
    ! grep -q '^[a-z]' /tmp/motley/packages.txt || python3 -m pip install --no-deps --require-hashes \
        --only-binary=:all: --requirement /tmp/motley/packages.txt

# Mounted, not copied: passwords of package indexes in it are in no layer.
RUN --mount=type=bind,source=requirements.txt,target=/tmp/motley/requirements.txt \
    python3 -m pip install --requirement /tmp/motley/requirements.txt
