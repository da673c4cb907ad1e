# make quickstart | test | lint | ...: each makes .venv and installs first where needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(if $(shell nvidia-smi -L 2>/dev/null | head -n 1),requirements.txt,requirements-cpu.txt)
INSTALLED := $(VENV)/.installed
# The other implementations live in an environment of their own.
PEERS := .venv-peers
PEERS_INSTALLED := $(PEERS)/.installed
# So does the compiler for a GPU that this machine has not; JAX 0.11 and later need Python 3.12.
GPU_COUNT := .venv-gpu-count
GPU_COUNT_INSTALLED := $(GPU_COUNT)/.installed
# And the compiler for TPUs; it may share an environment of Python 3.12 or newer.
TPU_COUNT := .venv-tpu-count
TPU_COUNT_INSTALLED := $(TPU_COUNT)/.tpu

.PHONY: results quickstart test test-quick lowest test-slow test-install notebook parity benchmark gpu-count tpu-count tpu-quick gpu-pack docs lint format clean help
help:
	@echo "make quickstart   install, train on scikit-learn's digits, evaluate, draw maps (3 minutes on 2 cores)"
	@echo "make test         install, run the tests"
	@echo "make test-quick   a few of them, and what warns of a deprecation is an error"
	@echo "make lowest       quickstart and tests with the lowest versions of the requirements, in .venv-lowest"
	@echo "make test-install build the wheel, install it elsewhere and train two steps from it (a minute, no network)"
	@echo "make notebook     run notebooks/ from the beginning and keep the new outputs (4 minutes)"
	@echo "make parity       install timm, torchvision, Keras and others, compare the whole family with them (an hour)"
	@echo "make benchmark    measure speed and memory beside them, into results/benchmark_*.md (an hour)"
	@echo "make gpu-count    count kernels, bytes and memory of training steps with the compiler of an H100 (10 minutes, no GPU)"
	@echo "make tpu-count    the same with the compiler of one and of four TPU chips (an hour, no TPU); tpu-quick: one small step"
	@echo "make results      go on with all that results/ shows; finished runs are not trained again (days on 2 cores)"
	@echo "make gpu-pack     pack CIFAR-100 and wheels for scripts/gpu_jobs.sh on a GPU machine without a network"
	@echo "make docs         build the site of docs/ into build/site; broken links are errors"
	@echo "make lint         ruff check and format check"
	@echo "make format       ruff format"
	@echo "make clean        remove .venv and its like, and runs/quickstart"

define check_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old, 3.11 or newer is needed; use make PYTHON=/path/to/python3.11" >&2; exit 2; }
endef
PIP := python -m pip install --quiet --disable-pip-version-check

$(INSTALLED): requirements.txt requirements-cpu.txt requirements/cuda12.txt requirements/dev.txt
	$(check_python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) -r $(REQUIREMENTS) -r requirements/dev.txt $(if $(LOWEST_VERSIONS),-c $(LOWEST_VERSIONS))
	@touch $@

# Each package at the lower end of its range in the requirements; a constraint knows no extras.
.venv-lowest.txt: requirements-cpu.txt requirements/dev.txt
	sed -nE 's/^([A-Za-z0-9_-]+)(\[[^]]*\])?>=([0-9.]+).*/\1==\3/p' $^ > $@

# The last line wants --no-deps: those packages would pull in a torch of their own choice.
$(PEERS_INSTALLED): requirements-cpu.txt requirements/dev.txt requirements/peers.txt requirements/peers-nodeps.txt
	$(check_python)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/$(PIP) -r requirements-cpu.txt -r requirements/dev.txt -r requirements/peers.txt
	$(PEERS)/bin/$(PIP) --no-deps -r requirements/peers-nodeps.txt
	@touch $@

quickstart: $(INSTALLED)
	$(BIN)/python scripts/train.py --config configs/quickstart.py --workdir runs/quickstart --overwrite
	$(BIN)/python scripts/evaluate.py --checkpoint runs/quickstart --split test
	$(BIN)/python scripts/cam.py --checkpoint runs/quickstart --method grad_cam,layer_cam --output runs/quickstart/cam

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 10

lowest: .venv-lowest.txt
	$(MAKE) VENV=.venv-lowest LOWEST_VERSIONS=.venv-lowest.txt quickstart test

# What a new release of JAX, Flax, Optax or Orbax is about to drop fails here first: models, steps, checkpoints, data.
QUICK_TESTS := $(addprefix tests/,process/test_runtime.py process/test_xla_flags.py data/sets/test_cifar.py models/test_layers.py \
	models/test_baselines.py models/test_half_precision.py training/test_step.py training/test_checkpoint.py)
DEPRECATIONS := DeprecationWarning PendingDeprecationWarning FutureWarning
test-quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(DEPRECATIONS:%=-W error::%) $(QUICK_TESTS)

test-slow: $(INSTALLED)
	XLA_FLAGS= $(BIN)/python -m pytest -m slow

test-install: $(INSTALLED)
	$(BIN)/python -m pytest -m slow tests/test_install.py

notebook: $(INSTALLED)
	TQDM_DISABLE=1 $(BIN)/jupyter execute --inplace $(wildcard notebooks/*.ipynb)

parity: $(PEERS_INSTALLED)
	XLA_FLAGS= $(PEERS)/bin/python -m pytest -m parity tests/parity -n 2 --dist loadgroup --durations 10

SUITE := $(if $(filter requirements.txt,$(REQUIREMENTS)),gpu,cpu)
benchmark: $(PEERS_INSTALLED)
	$(PEERS)/bin/python scripts/benchmark.py --suite $(SUITE) --peers timm,timm-compile,keras,naive,onnxruntime,openvino \
		--output results/benchmark_$(SUITE).md

$(GPU_COUNT_INSTALLED): requirements-cpu.txt requirements/gpu-count.txt
	$(check_python)
	$(PYTHON) -m venv $(GPU_COUNT)
	$(GPU_COUNT)/bin/$(PIP) -r requirements-cpu.txt -r requirements/gpu-count.txt
	@touch $@

gpu-count: $(GPU_COUNT_INSTALLED)
	$(GPU_COUNT)/bin/python scripts/benchmark.py --compile_for h100

$(TPU_COUNT_INSTALLED): requirements-cpu.txt requirements/tpu.txt
	$(check_python)
	test -d $(TPU_COUNT) || $(PYTHON) -m venv $(TPU_COUNT)
	$(TPU_COUNT)/bin/$(PIP) -r requirements-cpu.txt -r requirements/tpu.txt
	@touch $@

tpu-count: $(TPU_COUNT_INSTALLED)
	$(TPU_COUNT)/bin/python scripts/benchmark.py --compile_for v5e
	$(TPU_COUNT)/bin/python scripts/benchmark.py --compile_for v5e:2x2

# One small step for four chips.
tpu-quick: $(TPU_COUNT_INSTALLED)
	$(TPU_COUNT)/bin/python scripts/benchmark.py --compile_for v5e:2x2 --config quickstart

results: $(INSTALLED)
	$(BIN)/python scripts/results.py

# What a bare GPU machine without a network needs: the data, and the pure-Python packages that its image lacks.
GPU_PYTHON := 3.12
gpu-pack: $(INSTALLED)
	$(BIN)/python scripts/gpu_pack.py pack gpu_pack
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--python-version $(GPU_PYTHON) --dest gpu_pack/wheels \
		ml_collections tensorboardX optuna alembic sqlalchemy colorlog mako greenlet markupsafe pyyaml tqdm

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(PEERS) $(GPU_COUNT) $(TPU_COUNT) .venv-newest .venv-lowest .venv-lowest.txt runs/quickstart gpu_pack
