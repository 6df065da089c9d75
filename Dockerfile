# An image that the ranks of a run can train in: Python, torch, and what requirements.txt names (docs/environment.md).
#
# With dockerfile = "Dockerfile" under [environment], every host builds it, with nothing around it but a requirements.txt,
# which is empty where cluster.toml names none. `image` there is what it begins with, such as one that has torch already.
# By hand: docker build --tag mine --build-arg BASE=pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime .

ARG BASE=python:3.12-slim
FROM ${BASE}

COPY requirements.txt /tmp/motley/requirements.txt

# A torch that is there and new enough stays as it is. Where a GPU is of no use, this line in requirements.txt spares some
# GB: --extra-index-url https://download.pytorch.org/whl/cpu
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --no-cache-dir "torch>=2.6" numpy --requirement /tmp/motley/requirements.txt \
    && rm -r /tmp/motley
