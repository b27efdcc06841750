# Two commands do everything, set-up included: `make demo` runs the main job, `make test` the tests.
# They need Python 3.11 or later, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_HOME := data/demo
EXAMPLES ?= 12
FUZZ ?= 2000
SIZES ?= 100000,1000000
PARTS ?= idle,history,day,steps,landing,backfill
DAYS ?= 10

.PHONY: demo docs bench test test-properties test-prefect test-faults test-fuzz test-mutants test-pilots install lint sbom lock clean help

help:  ## Say what there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

# Where Python is told to write no bytecode, pip leaves it out too, and each process would compile all that it imports: half
# of a short run. A file of a library that this Python cannot compile is none that is imported.
define install
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $(1)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib flows expectations || true
	$(BIN)/python -c "from flows.steps.transform import compile_beforehand; compile_beforehand()"
endef

$(READY): requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	touch $(READY)

install:  ## Install what runs into .venv, without what tests and measures it.
	$(call install,requirements.lock)

demo: $(READY)  ## Make a small world, run a year of it, say where to look.
	rm -rf $(DEMO_HOME)
	CALLFREE_HOME=$(DEMO_HOME) $(BIN)/callfree demo

test: $(READY) lint  ## Run the tests.
	$(BIN)/python -m pytest --quiet -n 2 --dist loadfile --no-loadscope-reorder

test-properties: $(READY)  ## Compare the pipeline with the reference in more worlds (EXAMPLES=12).
	CALLFREE_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --quiet tests/test_properties.py

test-prefect: $(READY)  ## Try callfree up, its alerts, and a server with PostgreSQL.
	$(BIN)/python -m pytest --quiet trials

test-faults: $(READY)  ## Try every promise of docs/reliability.md, and write its figures there (CALLFREE_SEED=2017).
	CALLFREE_RELIABILITY_PAGE=docs/reliability.md $(BIN)/python -m pytest --quiet -n 2 --dist worksteal \
		-m "faults or promise"

bench: $(READY)  ## Measure against hand-written scripts, and write docs/benchmarks.md (SIZES=100000,1000000).
	$(BIN)/python benchmarks/bench.py --sizes $(SIZES) --parts $(PARTS) --days $(DAYS)

docs: $(READY)  ## Write every table, its columns, owners and lineage as one page (build/docs/static_index.html).
	rm -rf build/docs
	mkdir -p build/docs
	$(BIN)/python -c "import duckdb; duckdb.connect('build/docs/ledger.duckdb').close()"
	CALLFREE_WAREHOUSE=$(CURDIR)/build/docs/warehouse.duckdb CALLFREE_LEDGER=$(CURDIR)/build/docs/ledger.duckdb \
		$(BIN)/dbt docs generate --static --empty-catalog --quiet --no-version-check \
		--project-dir dbt_project --profiles-dir dbt_project \
		--target-path $(CURDIR)/build/docs --log-path $(CURDIR)/build/docs
	@echo "build/docs/static_index.html"

test-fuzz: $(READY)  ## Land damaged deliveries, other ones each time (FUZZ=2000).
	CALLFREE_FUZZ=$(FUZZ) $(BIN)/python -m pytest --quiet tests/test_bad_input.py -k whatever_comes

test-mutants: $(READY)  ## Plant bugs, one at a time; the tests must catch every one.
	$(BIN)/python tests/mutants/run.py

test-pilots: $(READY)  ## Draw 4000 pilots with a known effect, 4000 without one: do the intervals hold?
	CALLFREE_PILOTS=4000 $(BIN)/python -m pytest --quiet tests/test_kpi_worlds.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

sbom: $(READY)  ## Write the bill of materials of what runs (sbom.cdx.json, CycloneDX).
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --index-url "" \
		--output-reproducible --output-file sbom.cdx.json

lock:  ## Pin the dependencies anew (needs uv).
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--extra dev pyproject.toml --output-file requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--constraint requirements-dev.lock pyproject.toml --output-file requirements.lock

clean:  ## Remove the virtual environment and the demo.
	rm -rf $(VENV) $(DEMO_HOME)
