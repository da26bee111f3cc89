# Linux only. `make run` and `make test` set up .venv and do the rest; see README.md.
PYTHON ?= python3
BIN := .venv/bin
SECONDS_OF_RUN ?= 20
OUT ?= runs

.PHONY: run test bench soak setup qt lint clean

run: setup
	$(BIN)/scheelite demo --seconds $(SECONDS_OF_RUN) --out $(OUT)

test: setup qt lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $$($(BIN)/python -m tests.qt) -m "not bench and not soak and not alone"
	$(BIN)/python -m pytest $$($(BIN)/python -m tests.qt) -m "alone and not bench and not soak"

bench: setup
	$(BIN)/python -m pytest -m bench -s

soak: setup
	$(BIN)/python -m pytest -m soak -s

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/.installed

# where Qt needs system libraries that are missing: installs them if it may, else prints the line to run
qt: setup
	@sh .ci/qt-libraries

.venv/.installed: pyproject.toml constraints.txt .ci/make-venv
	@sh .ci/make-venv $(PYTHON)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gui,test]'
	@touch $@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
