# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run serve export bench bench-quick bench-encoder bench-gpu test proofs lint format openapi audit constraints clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Compiling takes two thirds of an installation, and most modules are never imported.
INSTALL := $(PIP) install -q --no-compile -c constraints.txt
UNFINISHED := $(VENV).unfinished
ENCODER := model_repository/encoder/config.pbtxt
# Options for `make export`, `make serve` and the benchmarks, for example ARGS="--checkpoint my-checkpoint".
ARGS ?=

# What is imported is compiled once, and kept: also where the environment forbids it.
unexport PYTHONDONTWRITEBYTECODE

# Ends the command with make, also when make itself is killed.
TIED := exec setpriv --pdeathsig TERM $(BIN)/python

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

run: $(VENV)/.run $(ENCODER) ## Set everything up, serve on port 7860, recognise a first sample
	@$(TIED) -m server --gateway --on-ready "$(BIN)/emotion2vec predict samples/real/happy.flac --format table" $(ARGS)

serve: $(VENV)/.serve ## Start Triton only (ARGS="--help" lists the options)
	@$(TIED) -m server $(ARGS)

export: $(VENV)/.export ## Download, export, verify and install the model (ARGS="--help")
	@$(TIED) -m export $(ARGS)

voices: $(VENV)/.serve ## Install the model that tells speakers apart by their voices (26 MB)
	@$(TIED) -m export.voices $(ARGS)

bench-encoder: $(VENV)/.export ## Time the encoder against FunASR (ARGS="--help")
	@$(TIED) benchmarks/encoder.py $(ARGS)

bench-gpu: $(VENV)/.export ## Measure the encoder on this machine's GPU, and write a report (ARGS="--help")
	@$(TIED) -m benchmarks.gpu $(ARGS)

bench: $(VENV)/.bench $(ENCODER) ## Load the service until it is saturated, and report (ARGS="--help")
	@$(TIED) -m benchmarks.run $(ARGS)

bench-quick: $(VENV)/.bench $(ENCODER) ## The same in about two minutes
	@$(TIED) -m benchmarks.run --quick $(ARGS)

test: $(VENV)/.dev ## Run all tests (ARGS="tests/unit" some of them)
	@$(TIED) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

proofs: $(VENV)/.dev $(ENCODER) ## Prove what takes long (ARGS="-k soak" one of it; docs/testing.md)
	@$(TIED) -m pytest tests/proofs -s $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for model in model_repository/*/1/model.py; do $(BIN)/mypy $$model || exit; done

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(VENV)/.dev ## Report known holes in the pinned packages (asks PyPI)
	@$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

openapi: $(VENV)/.dev ## Write gateway/openapi.json and gateway/asyncapi.json from the code
	@$(BIN)/python -m gateway --openapi > openapi.new && mv openapi.new gateway/openapi.json
	@$(BIN)/python -m gateway --asyncapi > asyncapi.new && mv asyncapi.new gateway/asyncapi.json

clean: ## Remove the virtual environment, caches and the exported model
	rm -rf $(VENV) $(UNFINISHED) .pytest_cache .mypy_cache .ruff_cache .model_repository-export benchmarks/.corpus
	rm -rf model_repository/encoder client/*.egg-info client/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(VENV)/.dev ## Write constraints.txt from what is installed
	@{ sed '/^[^#]/,$$d' constraints.txt; \
	   $(BIN)/python -m pip freeze --all --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

# The first export. Without a network it goes on with the demonstration model; measurements of speed need
# the full size, and so go on with random weights.
ifeq ($(wildcard $(ENCODER)),)
$(ENCODER): | $(VENV)/.export
	@$(TIED) -m export --if-unreachable $(if $(filter run,$(MAKECMDGOALS)),demonstration,random)
endif
# Installed in one step; make must not remove a file of it when interrupted.
.PRECIOUS: $(ENCODER)

# With all that the README shows: tables, Parquet, plots.
CLIENT := ./client[cli,microphone,parquet,archive,analysis]

# An interrupted installation leaves packages that look complete but are not, so the environment is then
# created again. A running installation holds the lock on this file, and has written into it.
ifneq ($(wildcard $(UNFINISHED)),)
$(shell flock --nonblock $(UNFINISHED) sh -c '[ ! -s $(UNFINISHED) ] || rm -rf $(VENV) $(UNFINISHED)')
endif

# One mark per dependency set, renewed when a pin changes.
$(VENV)/.serve $(VENV)/.run $(VENV)/.bench $(VENV)/.export $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt client/pyproject.toml
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
	case $$version in 3.11|3.12) ;; *) \
	  echo "$(PYTHON) is Python $$version, and 3.11 or 3.12 is needed: name one that is installed, for example 'make run PYTHON=python3.11'" >&2; exit 1;; \
	esac; \
	exec 9>> $(UNFINISHED); \
	flock --nonblock 9 || { echo "another make is installing packages here: wait for it" >&2; exit 1; }; \
	echo unfinished >&9; \
	echo "installing the packages to $* (once; a few minutes) ..."; \
	{ [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); } && \
	: "Older pip knows no dependency groups." && \
	$(INSTALL) --upgrade pip && \
	$(INSTALL) --group $* -e "$(CLIENT)" && \
	touch $@; \
	code=$$?; rm $(UNFINISHED); exit $$code
