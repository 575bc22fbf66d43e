# Every target does its own set-up: a virtual environment in .venv, the package in it (compiling
# csrc/), and, for root on Debian and its kin, the system packages that are missing. What is
# done leaves a stamp in .venv, so that a second run starts at once.
#
#   make demo            segment a bundled image: in napari, or into demo_output/ without a display
#   make demo HEADLESS=1 the same without a window, even where there is a display
#   make test            every test, WORKERS=2 at a time (PYTEST_ARGS=... goes to pytest)
#   make quick           what a commit can wait for: one test of each row of the register of faults,
#                        in less than a minute (pre-commit runs it)
#   make lint            ruff and mypy
#   make faults          what can go wrong, all of it: longer tests, KILLS=200 kills of a training,
#                        a disk that is full; counts go into docs/reliability.md
#   make fuzz            damaged files of every kind, SECONDS=60 for each (Linux)
#   make soak            a napari driven by random actions for MINUTES=30, SEED=42
#   make seeds           the same with each of SEEDS=20 seeds, ACTIONS=1000 actions each, as many
#                        at a time as there are processors; goes on where it was stopped
#   make audit           licences into docs/licences.md, known holes of dependencies (pip-audit)
#   make bench           timings, into tests/benchmarks/results/
#   make accuracy        every network on every data set, into docs/evidence.md (hours; goes on
#                        where it was stopped). CELL=glas/med_urwkv_t does one again;
#                        BUDGET=600 seconds a cell, DEVICE=cuda, SEEDS="0 1 2"
#   make clean           remove .venv and everything that was built

PYTHON ?= python3

# Installed before all else. Left to itself, pip takes the newest torch, on Linux with several GB
# of CUDA libraries; once this version is there, nothing pulls another. It is pinned so that demo,
# tests and CI run on one version; the package itself accepts any torch >= 2.10. A CPU-only build
# from a wheel index of your own: make demo TORCH="torch==2.13.0 --index-url ..."
TORCH ?= torch==2.13.0
QT    ?= napari[pyqt6]

# Exact versions with which all tests passed. CONSTRAINTS= takes the newest of everything.
CONSTRAINTS ?= requirements/tested.txt

# At a time; each has one thread of its own, and one of them has all windows. 0: one after another.
WORKERS ?= 2

KILLS   ?= 200
SECONDS ?= 60
MINUTES ?= 30
SEED    ?= 42
SEEDS   ?= 20
ACTIONS ?= 1000

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

SOURCES := pyproject.toml $(wildcard csrc/*.* csrc/*/*.*)
SYSTEM  := PYTHON="$(PYTHON)" bash scripts/system_packages.sh
PIP     := "$(BIN)/python" -m pip --disable-pip-version-check

LOCK    := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
FOUND   := tests/faults/results

.PHONY: help demo test quick lint faults fuzz soak seeds audit bench accuracy clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/package.stamp
	@[ -n "$(HEADLESS)" ] || [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || $(SYSTEM) window
	@echo "==> Segmenting a bundled image"
	@HEADLESS="$(HEADLESS)" "$(BIN)/python" scripts/demo.py

test: .venv/dev.stamp
	@$(SYSTEM) window screen
	@echo "==> Running every test"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} NAPARI_STRICT_QT=1 bash scripts/with_screen.sh \
		"$(BIN)/pytest" -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

quick: .venv/dev.stamp
	@$(SYSTEM) window screen
	@echo "==> Running one test of each row of the register of faults"
	@tests=$$("$(BIN)/python" tests/faults/quickest.py) && \
		OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} NAPARI_STRICT_QT=1 bash scripts/with_screen.sh \
		"$(BIN)/pytest" -q -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS) $$tests

lint: .venv/dev.stamp
	@echo "==> Checking style and types"
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"

faults: .venv/dev.stamp
	@$(SYSTEM) window screen
	@$(MAKE) --no-print-directory quick PYTEST_ARGS="--fault-results $(FOUND)/quick.json"
	@echo "==> Trying everything that can go wrong"
	@NAPARI_STRICT_QT=1 bash scripts/with_screen.sh "$(BIN)/pytest" -m "fault or long" \
		--fault-results $(FOUND)/faults.json $(PYTEST_ARGS); \
		status=$$?; "$(BIN)/python" scripts/reliability.py; exit $$status
	@echo "==> Killing a training $(KILLS) times"
	@"$(BIN)/python" tests/benchmarks/soak_finetune.py --kills $(KILLS) > $(FOUND)/kills.tmp; \
		status=$$?; [ ! -s $(FOUND)/kills.tmp ] || mv $(FOUND)/kills.tmp $(FOUND)/kills.json; \
		rm -f $(FOUND)/kills.tmp; "$(BIN)/python" scripts/reliability.py; exit $$status

fuzz: .venv/dev.stamp
	@"$(BIN)/python" tests/fuzz/fuzz.py --seconds $(SECONDS); \
		status=$$?; "$(BIN)/python" scripts/reliability.py; exit $$status

soak: .venv/dev.stamp
	@$(SYSTEM) window screen
	@bash scripts/with_screen.sh "$(BIN)/python" tests/soak/soak.py --minutes $(MINUTES) --seed $(SEED); \
		status=$$?; "$(BIN)/python" scripts/reliability.py; exit $$status

seeds: .venv/dev.stamp
	@$(SYSTEM) window screen
	@bash scripts/with_screen.sh "$(BIN)/python" tests/soak/many_seeds.py --seeds $(SEEDS) \
		--actions $(ACTIONS); \
		status=$$?; "$(BIN)/python" scripts/reliability.py; exit $$status

audit: .venv/dev.stamp
	@"$(BIN)/python" scripts/licences.py
	@$(PIP) install -q pip-audit
	@"$(BIN)/pip-audit" -r requirements/tested.txt --no-deps --disable-pip

bench: .venv/dev.stamp
	@for bench in bi_wkv segment dock; do \
		echo "==> bench_$$bench.py"; \
		bash scripts/with_screen.sh "$(BIN)/python" "tests/benchmarks/bench_$$bench.py" || exit 1; \
	done

accuracy: .venv/dev.stamp
	@"$(BIN)/python" tests/benchmarks/accuracy.py $(if $(CELL),--cell "$(CELL)") \
		$(if $(BUDGET),--seconds $(BUDGET)) $(if $(DEVICE),--device $(DEVICE)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(ACCURACY_ARGS)

.venv/python.stamp:
	@$(SYSTEM) build
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "==> Making .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv .venv
	@$(PIP) install -q "pip>=25.1"
	@touch $@

.venv/torch.stamp: .venv/python.stamp
	@echo "==> Installing $(TORCH)"
	@$(PIP) install -q $(TORCH)
	@touch $@

.venv/package.stamp: .venv/torch.stamp $(SOURCES)
	@$(SYSTEM) build
	@echo "==> Compiling csrc/ and installing the package with napari (a few minutes at the first time)"
	@$(PIP) install -q $(LOCK) -e . "$(QT)"
	@touch $@

.venv/dev.stamp: .venv/package.stamp
	@echo "==> Installing the tools for tests and checks"
	@$(PIP) install -q $(LOCK) --group dev
	@touch $@

clean:
	rm -rf .venv build demo_output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
