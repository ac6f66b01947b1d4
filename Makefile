# Two commands do everything on a fresh machine: `make up` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# Two at a time, a file's tests in one process for what they share; PyTorch's threads wait without spinning.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Your own photos: a folder or a zip with a folder per class.
PHOTOS ?=
# On Linux without an NVIDIA card: the address that PyTorch's install page shows for CPU; saves gigabytes.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help up test unit lint format bench clean

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## *' '{ printf "%-12s%s\n", $$1, $$2 }'

up: $(VENV)/.train  ## Install, then start everything: Prefect, its worker, the server, a first model
	@exec $(BIN)/pawloop up $(if $(PHOTOS),--photos "$(PHOTOS)")

test: $(VENV)/.test  ## Install, then run all tests
	$(PYTEST)

unit: $(VENV)/.test  ## The tests without the end-to-end ones, quickly
	$(PYTEST) -m "not e2e"

lint: $(VENV)/.test  ## Linter, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pawloop tasks export flows serve bench

format: $(VENV)/.test  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## Measure ours, the bare limit and the peers side by side
	$(BIN)/python -m bench

clean:  ## Remove what was installed; the store stays
	rm -rf $(VENV) build *.egg-info

$(VENV)/.train: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Pawloop needs Python 3.11 or newer; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --index-url $(TORCH_INDEX) torch torchvision)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train]"
	@touch $@

$(VENV)/.test: $(VENV)/.train
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@
