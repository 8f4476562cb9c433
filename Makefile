# make demo | serve | test | faults | lint | check | bench: everything sets itself up first.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS := 1

.PHONY: setup demo serve test faults lint format check bench picture clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@test -d .venv || $(PYTHON) -m venv .venv
	@echo "installing (a minute or two, once) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/switchyard demo

serve: setup
	@$(BIN)/switchyard serve

test: setup
	@$(BIN)/pytest -n 2 --dist loadscope

faults: setup
	@$(BIN)/pytest -m faults

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: lint test

bench: setup
	@$(BIN)/python -m tests.bench

picture: setup
	@$(BIN)/python docs/picture.py

clean:
	rm -rf .venv var
