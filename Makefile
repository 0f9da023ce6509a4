# make demo: set up, run the digits scenario in three frameworks, print the comparison.
# make test: set up, run every test.
# Both can be called again at any time and reuse what is there.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LOCK := src/trustml/environments/main.lock
# uv where it is there, pip where not, or where uv finds no packages: it does not read pip's settings.
UV ?= $(shell command -v uv)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
install = { $(if $(UV),$(UV) pip install --quiet --compile-bytecode --no-deps --python $(BIN)/python $(1) ||) $(PIP) $(1); }
PYTEST_ARGS ?=
# XLA compiles the many small programs of the tests for longer than they run: here it optimises less, leaves its slower
# compiler of fused loops out, and does not split small programs into 32 parts. make test-all leaves it as users have it.
ALL := TRUSTML_TESTS=all
# One thread a process, as two processes of tests share what may be two cores, said in every way that workers are told
# so: tests that say it and tests that do not fork from the same process. The hundreds of processes that the tests
# start find our modules and theirs compiled, also where the caller's Python writes no bytecode.
XLA := --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_multi_thread_eigen=false
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
QUICK := JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS="$(XLA)" $(THREADS) PYTHONDONTWRITEBYTECODE=

.PHONY: demo bench bench-large engines atlas test test-all test-targets test-wheel test-mutants test-kills test-reliability test-conformance test-sensitivity test-seeds check format environments environments-all dashboard dist sbom docs clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# Two jobs at a time, of one thread each: importing and compiling take most of it, on one core.
demo: environments  ## run scenarios/digits.py and print the comparison
	$(BIN)/trustml run scenarios/digits.py --set execution.parallel_jobs=2 --set execution.threads=1
	@echo
	@echo "Two jobs ran at a time. To compare speeds, run them one by one:  $(BIN)/trustml run scenarios/digits.py"
	@echo "Open the dashboard with:  $(BIN)/trustml dashboard"

bench: environments  ## time trustml beside its peers (25 minutes on 2 cores; FULL=1 does everything)
	$(BIN)/trustml bench $(if $(FULL),--full) $(BENCH_ARGS)

LARGE_RESULT := benchmarks/results/bench_large.json
LARGE_PART := benchmarks/results/bench_large.part.json

bench-large: environments  ## time networks of real size beside peers; goes on where it was interrupted (25 minutes on 2 cores)
	$(BIN)/trustml bench --large --resume --result $(LARGE_PART) --write-docs docs/performance_large.md $(BENCH_ARGS)
	$(BIN)/python benchmarks/large_step_parts.py
	$(BIN)/trustml bench --from $(LARGE_PART) --parts benchmarks/results/large_parts.json --write-docs docs/performance_large.md > /dev/null
	mv $(LARGE_PART) $(LARGE_RESULT)

test: environments  ## run the tests, all but the long ones
	$(QUICK) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-all: environments-all test-kills test-conformance test-sensitivity test-seeds test-wheel test-mutants  ## every test, in its longest form (hours)
	$(ALL) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-targets: environments  ## a CNN, an MLP and a residual network to every target of export (two minutes)
	$(QUICK) TRUSTML_TARGETS=all $(BIN)/python -m pytest -n 2 tests/deployment/test_exporting.py -k files_compute $(PYTEST_ARGS)

test-wheel: environments  ## the wheel, with all that it depends on installed anew
	$(ALL) TRUSTML_WHEEL=all $(BIN)/python -m pytest tests/package $(PYTEST_ARGS)

test-mutants: environments  ## put small mistakes into a copy of the code, and look for the tests that fail (minutes)
	$(QUICK) $(BIN)/python tests/mutants.py

test-kills: environments  ## kill private trainings 200 times (about half an hour)
	$(ALL) TRUSTML_KILLS=200 $(BIN)/python -m pytest -n 2 tests/worker/test_kill.py $(PYTEST_ARGS)

KILLS ?= 20
FUZZ_SECONDS ?= 30

test-reliability: environments  ## kill whole runs KILLS=20 times, and give every reader changed files for FUZZ_SECONDS=30
	$(QUICK) $(BIN)/python -m tests.reliability.kills --count $(KILLS)
	$(QUICK) $(BIN)/python -m tests.reliability.fuzz --seconds $(FUZZ_SECONDS)

test-conformance: environments  ## the conformance suite on every backend, JAX too
	$(ALL) TRUSTML_CONFORMANCE=all $(BIN)/python -m pytest tests/cli/test_privacy_commands.py -k conformance $(PYTEST_ARGS)

engines: environments  ## other libraries under the conformance suite (half an hour), and docs/conformance.md
	$(BIN)/trustml conformance --engine all --result benchmarks/results/conformance.json --write-docs docs/conformance.md

test-sensitivity: environments  ## search for an example that moves a clipped sum too far (an hour)
	$(ALL) TRUSTML_SENSITIVITY_SECONDS=500 $(BIN)/python -m pytest -s tests/conformance/test_sensitivity.py $(PYTEST_ARGS)

test-seeds: environments  ## accuracy of the ready scenarios over three seeds
	$(ALL) TRUSTML_SEEDS=3 $(BIN)/python -m pytest tests/scenarios/test_digits.py $(PYTEST_ARGS)

check: .venv/.installed  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dashboard: environments  ## serve the dashboard
	$(BIN)/trustml dashboard

environments: .venv/.installed  ## make .venv and .venv-tensorflow
	@$(BIN)/trustml setup tensorflow || echo "going on without tensorflow"

environments-all: environments  ## and what only some targets of export need: node's packages, ExecuTorch's, LiteRT's
	@for one in node executorch litert; do $(BIN)/trustml setup $$one || echo "going on without $$one"; done

# Both at once: making tensorflow's needs two packages of this one. Where it fails, `environments` says so.
.venv/.installed: $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "trustml needs Python 3.11 for make; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	grep -E '^(click|msgspec)==' $(LOCK) > .venv/setup.txt
	$(call install,-r .venv/setup.txt)
	@PYTHONPATH=src $(BIN)/python -m trustml.cli setup tensorflow & other=$$!; \
	$(call install,-r $(LOCK)) && $(call install,--no-build-isolation -e .); ended=$$?; wait $$other; exit $$ended
	touch $@

dist: environments  ## build sdist and wheel in dist/, the wheel from the sdist
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null

sbom: dist  ## bill of materials of the release: dist/trustml.cdx.json (CycloneDX)
	$(BIN)/python .ci/sbom.py dist/trustml.cdx.json dist/*.whl dist/*.tar.gz

docs: .venv-docs/.installed  ## build the site of the documentation in site/, with every link checked
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

ATLAS ?= adult digits housing text_spam time_series_gru
ATLAS_ARGS ?=

atlas: environments  ## run ready scenarios in all frameworks and put their report into the documentation (20 minutes of processor; TRUSTML_DATA names the folder of the tables)
	rm -rf runs/atlas runs/atlas-site
	for name in $(ATLAS); do $(BIN)/trustml run scenarios/$$name.py --runs runs/atlas $(ATLAS_ARGS) || exit 1; done
	$(BIN)/trustml report $$(ls runs/atlas) --runs runs/atlas --site runs/atlas-site
	$(BIN)/python docs/atlas_hook.py runs/atlas-site

.venv-docs/.installed: pyproject.toml
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check 'mkdocs==1.6.1' 'mkdocs-material==9.8.2'
	touch $@

clean:  ## remove both environments and caches, not the runs
	rm -rf .venv .venv-tensorflow .venv-docs .venv-node .venv-executorch .venv-litert site dist .pytest_cache .ruff_cache .mypy_cache
