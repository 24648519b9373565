# The commands of this project. Each target sets up .venv with what it needs first; a stamp file in
# .venv remembers that, until pyproject.toml changes.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.PHONY: demo test exhaustive mutations lint bench reproduce notebooks clean

demo: .venv/.installed ## the main job: Llama-2-7B decode on a TPU v4; the command says where its files are
	$(BIN)/nibblesim run tpu_v4 llama-2-7b --phase decode --batch 8 --context 2048 \
		--weight-format int8 --activation-format int8 --kv-format int8 --out out/demo

test: .venv/.installed-test ## all tests on two workers of one thread each; benchmarks run once, untimed
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --benchmark-disable

exhaustive: .venv/.installed-test ## minutes: all float32 inputs of five formats, W4A16 products, millions of DRAM commands
	$(BIN)/python -m pytest -n 2 -m slow

mutations: .venv/.installed-test ## minutes: break one line at a time; writes tests/mutations/result.md
	$(BIN)/python tests/mutations/run.py

lint: .venv/.installed-dev ## style, layout and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed-test ## timed runs; figures in out/bench.json
	mkdir -p out
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/bench -m '' --benchmark-only --benchmark-json=out/bench.json

reproduce: .venv/.installed ## every experiment, some 5 minutes; writes experiments/summary.csv and .png
	$(BIN)/nibblesim reproduce --all --out out/reproduce
	cp out/reproduce/summary.csv out/reproduce/summary.png experiments/

notebooks: .venv/.installed-notebook ## run every notebook from top to bottom
	$(BIN)/python -m pytest --nbmake notebooks

clean: ## remove what runs wrote; .venv stays
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: pyproject.toml .venv/.created
	$(PIP) --editable .
	touch $@

.venv/.installed-%: pyproject.toml .venv/.created
	$(PIP) --editable '.[$*]'
	touch $@ .venv/.installed
