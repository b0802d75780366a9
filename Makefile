# Everything runs in a virtual environment of its own (.venv), made and kept up to date by these targets.
PYTHON ?= python3
OUT ?= reproduction
VENV := .venv
PIP := $(VENV)/bin/python -m pip -qq --disable-pip-version-check
# The doctests and the contract of all instances run with the annotations of arrays executed, which makes tests twice as slow.
SHAPES := stablestep,tests.shapes.typechecked
QUICK_FLAG := $(if $(filter-out 0 no false,$(QUICK)),--quick)

.DEFAULT_GOAL := help
.PHONY: help reproduce test docs native lint format bench link frontier edges hostile wheel lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "  %-16s %s\n", $$1, $$2 }'

reproduce: $(VENV)/.installed ## reproduce the papers' figures and claims into OUT=reproduction (QUICK=1: the quick ones)
	@$(VENV)/bin/stablestep reproduce --out "$(OUT)" $(QUICK_FLAG)

test: lint ## lint, check types and import order, run the tests; those of the C++ kernels too, once `make native` has built them
	@STABLESTEP_NATIVE=0 $(VENV)/bin/python -m pytest -n 2 --dist worksteal tests
	@STABLESTEP_NATIVE=0 $(VENV)/bin/python -m pytest -n 2 --dist worksteal --jaxtyping-packages=$(SHAPES) \
	  src tests/test_instances.py tests/test_setup.py
	@if [ -e $(VENV)/.native ]; then $(MAKE) --no-print-directory native; fi

docs: $(VENV)/.documented ## build the documentation into build/docs and run its tutorials; warnings are errors
	@$(VENV)/bin/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

native: $(VENV)/.native ## build the CPU kernels in C++ (with g++) into .venv, test what they are used for
	@STABLESTEP_NATIVE=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal tests/test_native.py tests/test_message.py \
	  tests/test_simulate.py tests/test_benchmarks.py tests/sde/test_euler.py tests/stability/test_rollouts.py

lint: $(VENV)/.developed ## lint, check types and import order
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/pyright

format: $(VENV)/.developed ## rewrite the sources as the linter wants them
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(VENV)/.measured ## measure the speed against NumPy, PyTorch, plain JAX, diffrax and torchsde
	@$(VENV)/bin/python -m benchmarks

link: $(VENV)/.developed ## measure training steps over slow links (network namespaces and tc)
	@$(VENV)/bin/python -m benchmarks.link

frontier: $(VENV)/.developed ## bytes until a training is as good as tuned AdamW, ours and others (long; QUICK=1: two tasks, few entrants); refreshes docs/frontier.*
	@$(VENV)/bin/python -m benchmarks.frontier $(QUICK_FLAG)

edges: $(VENV)/.developed ## sweep small trainings, fit the probe's table, score all predictors (long; goes on where it was stopped)
	@$(VENV)/bin/python -m benchmarks.edges

hostile: $(VENV)/.measured ## hostile training runs, with the governor and with what others do (long; goes on where it was stopped)
	@$(VENV)/bin/python -m benchmarks.hostile

wheel: $(VENV)/.developed ## build dist/*.whl and install it into an environment of its own
	@rm -rf dist build/wheel
	@$(VENV)/bin/python -m build --outdir dist . >/dev/null
	@$(PYTHON) -m venv build/wheel
	@build/wheel/bin/python -m pip -qq --disable-pip-version-check install dist/*.whl
	@build/wheel/bin/stablestep --version
	@ls dist

lock: ## pin the newest versions of what development needs, in constraints.txt
	@rm -rf build/lock
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -c '$(GROUP)' dev docs > build/lock/development.txt
	@build/lock/bin/python -m pip -qq --disable-pip-version-check install . --requirement build/lock/development.txt
	@sed -n '/^#/p' constraints.txt > build/lock/constraints.txt
	@build/lock/bin/python -m pip freeze --exclude stablestep >> build/lock/constraints.txt
	@mv build/lock/constraints.txt constraints.txt

clean: ## remove everything the other targets made
	rm -rf native/src/stablestep_native/*.so native/src/stablestep_native/builds.json
	rm -rf $(VENV) build dist reproduction docs/generated .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stablestep needs Python 3.11 or newer; this is " \
	  + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing stablestep into $(VENV) (once)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

# Every pip installs this; only pip 25.1 and newer know groups themselves.
GROUP = import sys, tomllib; groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; \
  print(*(one for name in sys.argv[1:] for one in groups[name]), sep="\n")

# The exact version, so that pip does not look for a newer build with several GB of GPU packages.
$(VENV)/.developed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing stablestep, its development tools and PyTorch into $(VENV) (once)"
	@$(PIP) install --constraint constraints.txt torch==2.13.0
	@$(VENV)/bin/python -c '$(GROUP)' dev > $(VENV)/development.txt
	@$(PIP) install --constraint constraints.txt --editable . --requirement $(VENV)/development.txt
	@touch $(VENV)/.installed $@

$(VENV)/.native: native/pyproject.toml native/hatch_build.py $(wildcard native/src/stablestep_native/*.py native/src/stablestep_native/*.cc) | $(VENV)/.developed
	@echo "Building stablestep-native into $(VENV) (once)"
	@$(PIP) install 'hatchling>=1.27'
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall ./native
	@touch $@

# The tutorials need PyTorch too.
$(VENV)/.documented: pyproject.toml constraints.txt | $(VENV)/.developed
	@echo "Installing Sphinx and what runs notebooks into $(VENV) for the documentation (once)"
	@$(VENV)/bin/python -c '$(GROUP)' docs > $(VENV)/documentation.txt
	@$(PIP) install --constraint constraints.txt --requirement $(VENV)/documentation.txt
	@touch $@

# torchsde takes the PyTorch it finds.
$(VENV)/.measured: pyproject.toml | $(VENV)/.developed
	@echo "Installing torchsde into $(VENV) for the benchmarks (once)"
	@$(PIP) install torchsde==0.2.6 prodigyopt==1.1.2
	@touch $@
