# make quickstart | test | lint | ...: each makes .venv and installs first where needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(if $(shell nvidia-smi -L 2>/dev/null | head -n 1),requirements.txt,requirements-cpu.txt)
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test test-slow lint format clean help
help:
	@echo "make quickstart   install, train on scikit-learn's digits, evaluate (3 minutes on 2 cores)"
	@echo "make test         install, run the tests"
	@echo "make lint         ruff check and format check"
	@echo "make format       ruff format"
	@echo "make clean        remove .venv and runs/quickstart"

$(INSTALLED): $(REQUIREMENTS) requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old, 3.11 or newer is needed; use make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS) -r requirements-dev.txt
	@touch $@

quickstart: $(INSTALLED)
	$(BIN)/python scripts/train.py --config configs/quickstart.py --workdir runs/quickstart --overwrite
	$(BIN)/python scripts/evaluate.py --checkpoint runs/quickstart --split test

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs/quickstart
