# Linux only. `make run` and `make test` set up .venv and do the rest; see README.md.
PYTHON ?= python3
BIN := .venv/bin
SECONDS_OF_RUN ?= 20
OUT ?= runs
HOURS ?= 0.2
SEED ?= 20261126
SOAKED := tests/system/test_soak.py tests/property/test_store_storm.py
FOLDERS := $(addprefix tests/,system physics property contract unit)  # the longest first
NIGHT_HOURS ?= 8
NIGHT_SPEED ?= 8
# the compiled modules are kept, whatever a container asks for: a test starts hundreds of processes
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test bench soak long night setup qt lint clean

run: setup
	$(BIN)/scheelite demo --seconds $(SECONDS_OF_RUN) --out $(OUT)

test: setup qt lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(FOLDERS) $$($(BIN)/python -m tests.qt) -m "not bench and not soak and not alone and not night"
	$(BIN)/python -m pytest $$($(BIN)/python -m tests.qt) -m "alone and not bench and not soak and not night"

bench: setup
	$(BIN)/python -m pytest -m bench -s

# what docs/reliability.md tells: the faults, memory, storms, kills; HOURS=12 is a night, SEED another order of faults
soak: setup
	$(BIN)/python -m pytest -m soak -s --hours $(HOURS) --seed $(SEED) --page docs/reliability.md $(SOAKED)

# all other tests that are too long for `make test`, an hour and more
long: setup
	$(BIN)/python -m pytest -m soak $(addprefix --ignore=,$(SOAKED))

# a night of NIGHT_HOURS on a simulated bench, NIGHT_SPEED times as fast as time
night: setup
	NIGHT_HOURS=$(NIGHT_HOURS) NIGHT_SPEED=$(NIGHT_SPEED) $(BIN)/python -m pytest -m night -s tests/system/test_long_night.py

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
