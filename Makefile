# Every target does its own set-up: a virtual environment in .venv, the package in it (compiling
# csrc/), and, for root on Debian and its kin, the system packages that are missing. What is
# done leaves a stamp in .venv, so that a second run starts at once.
#
#   make demo            segment a bundled image: in napari, or into demo_output/ without a display
#   make demo HEADLESS=1 the same without a window, even where there is a display
#   make test            every test (PYTEST_ARGS=... goes to pytest)
#   make lint            ruff and mypy
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

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

SOURCES := pyproject.toml $(wildcard csrc/*.* csrc/*/*.*)
SYSTEM  := PYTHON="$(PYTHON)" bash scripts/system_packages.sh
PIP     := "$(BIN)/python" -m pip --disable-pip-version-check

.PHONY: help demo test lint bench accuracy clean
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
	@NAPARI_STRICT_QT=1 bash scripts/with_screen.sh "$(BIN)/pytest" $(PYTEST_ARGS)

lint: .venv/dev.stamp
	@echo "==> Checking style and types"
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"

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
	@$(PIP) install -q -e . "$(QT)"
	@touch $@

.venv/dev.stamp: .venv/package.stamp
	@echo "==> Installing the tools for tests and checks"
	@$(PIP) install -q --group dev
	@touch $@

clean:
	rm -rf .venv build demo_output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
