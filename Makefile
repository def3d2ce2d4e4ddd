# Two commands do everything: `make demo` and `make test`. Each makes the environment in .venv if need be.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AIRFLOW := .venv-airflow
AIRFLOW_STAMP := $(AIRFLOW)/.installed
SHELL := /bin/bash
# Processes of `make test`, each with a Spark of its own (6 GB of memory).
JOBS ?= 2

FAULTS := tests/spark/test_ingest_broken.py tests/spark/test_store_faults.py $(addprefix tests/jobs/test_,\
	interrupted.py cluster.py packed_environment.py driver_killed.py stream_killed.py)

.DEFAULT_GOAL := help
.PHONY: help env env-airflow demo live test test-dags test-faults lint format docs audit clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

env: $(STAMP) ## make the environment in .venv

# Spark reads conf/spark-defaults.conf of its own folder: so `.venv/bin/spark-submit jobs/...` finds Delta Lake.
$(STAMP): constraints.txt setup.py
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or name yours with make PYTHON=..."; exit 1; }
	@command -v java >/dev/null || [ -x "$$JAVA_HOME/bin/java" ] || { echo "A JDK 17 is needed: install it, or set JAVA_HOME."; exit 1; }
	@echo "Making the environment in $(VENV) (once, some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@spark=$$($(BIN)/python -c 'import pyspark; print(pyspark.__path__[0])') && mkdir -p $$spark/conf && \
		ln -sfn $(CURDIR)/conf/spark/local.conf $$spark/conf/spark-defaults.conf
	@touch $@

env-airflow: $(AIRFLOW_STAMP) ## make Airflow's own environment in .venv-airflow

# Apart from the other, for the Spark provider brings pyspark-client, which writes over pyspark.
$(AIRFLOW_STAMP): airflow_dags/constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or name yours with make PYTHON=..."; exit 1; }
	@echo "Making Airflow's environment in $(AIRFLOW) (once, a minute) ..."
	@test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< \
		apache-airflow apache-airflow-providers-apache-spark
	@touch $@

demo: $(STAMP) ## run the whole pipeline on a generated shop, or on DATA=<folder>; ARGS="..." goes to `vizrec demo`
	@$(BIN)/vizrec demo $(if $(DATA),--data '$(DATA)' --folder 'work/shops/$(notdir $(patsubst %/,%,$(DATA)))') $(ARGS)

live: $(STAMP) ## let shoppers act on the demo's shop and watch it: stream and service; ARGS="..." goes to `vizrec live`
	@$(BIN)/vizrec live $(ARGS)

test: lint $(AIRFLOW_STAMP) ## lint, types, import direction, then every test but the two sets below
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-dags: $(STAMP) $(AIRFLOW_STAMP) ## the Airflow part alone, with the DAGs' whole runs under a real scheduler
	@$(BIN)/python -m pytest -m '' tests/dags $(ARGS)

test-faults: $(STAMP) ## kill drivers, executors and streams at full size, and look what is left
	@$(BIN)/python -m pytest -m '' $(FAULTS) $(ARGS)

lint: $(STAMP) ## style, format, types, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP) ## write docs/tables.md anew from the contracts
	@$(BIN)/python -m vizrec_spark.app.document > docs/tables.md.new && mv docs/tables.md.new docs/tables.md

audit: ## look every pinned version up in the advisories of the Python Package Index
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit; }
	@for pins in constraints.txt airflow_dags/constraints.txt; do \
		.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $$pins || exit 1; done

clean: ## remove caches and built packages (not .venv, not work/, which may hold tables)
	@rm -rf build dist *.egg-info spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
