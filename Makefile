# `make demo` and `make test` do everything on a fresh machine: they make their own .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PORT ?= 8000
DJANGO ?= 5.2
APPS ?=
PYTEST_ARGS ?=

.PHONY: demo demo-check test lint format tsql-check django-tests peer-tests bank leak clean

# The stamp is newer than pyproject.toml once everything in it is installed.
$(VENV)/.installed: pyproject.toml tools/odbc_driver_manager.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python tools/odbc_driver_manager.py
	touch $@

demo: $(VENV)/.installed  ## the example site on the stand-in (or MSSQL_HOST), with telemetry and the panel
	@$(BIN)/python -m example_project.demo --port $(PORT)

demo-check: $(VENV)/.installed  ## the same without a person: visits each page, prints what it saw
	@$(BIN)/python -m example_project.demo --port 0 --check

test: $(VENV)/.installed  ## our own tests, on the stand-in or on MSSQL_HOST
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tsql-check: $(VENV)/.installed  ## parse every statement of the last test run with Microsoft's T-SQL parser
	$(BIN)/python -m tests.tsql_check

django-tests: $(VENV)/.installed  ## Django's own suite: APPS="basic lookup" DJANGO=5.2|6.0|6.1
	$(BIN)/python -m tests.django_suite.run --django $(DJANGO) $(APPS)

peer-tests: $(VENV)/.installed  ## the same suite with mssql-django, a client of the stand-in that nobody here wrote: APPS="basic lookup"
	$(BIN)/python -m tests.django_suite.peer $(APPS)

bank: $(VENV)/.installed  ## the full bank test: 8 threads, 4,000 transfers under deadlocks and cut connections
	MSSQL_BANK_TRANSFERS=4000 $(BIN)/python -m pytest -s tests/faults/test_bank.py

leak: $(VENV)/.installed  ## the full leak test: 100,000 cursors that nobody closes, spans and memory counted
	MSSQL_LEAK_CURSORS=100000 $(BIN)/python -m pytest tests/instrumentation/test_end_to_end.py -k forgotten

clean:
	rm -rf $(VENV) var build dist
