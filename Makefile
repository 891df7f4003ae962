# pcc: Postfix Country Control.  `make help` lists the targets.

# The system's own Python if it is 3.10 or later, because the user that spawn(8)
# runs pcc_policy.py as must be able to execute it; otherwise the first on PATH.
PYTHON := $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	2>/dev/null && echo /usr/bin/python3 || command -v python3)
VENV = .venv
RUN = $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help venv run test faults fuzz quality bench lint install uninstall deb test-install manual pictures

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/made ## make .venv with all that running needs (PYTHON= chooses the interpreter)
	@# The service user can't write bytecode, and would compile at every start.
	$(RUN) -m compileall -q pcc

$(VENV)/made: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "pcc needs Python 3.10 or later, and this is $$($(PYTHON) -V 2>&1): name another by PYTHON=" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/made-dev: requirements-dev.txt $(VENV)/made
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

run: venv ## play a recorded submission session, and list what is blocked
	$(RUN) examples/session.py

test: $(VENV)/made-dev ## set up and pass the tests, a real Postfix among them
	tests/install-packages
	@# Three at a time, because most tests wait for other processes: a module stays together.
	$(RUN) -m pytest -n 3 --dist loadfile --cov=pcc $(TESTFLAGS)

faults: $(VENV)/made-dev ## break all that can break, for minutes, and print figures (FAULTS=: options)
	tests/install-packages
	PYTHONPATH=tests/tools:. $(RUN) -m faults $(FAULTS)

fuzz: $(VENV)/made-dev ## more than a million requests and fragments against simple models (FUZZ=: options)
	@# Guided by coverage, too, where there is a wheel of atheris.
	-$(RUN) -m pip install --quiet --disable-pip-version-check --only-binary :all: atheris
	PYTHONPATH=tests/tools:. $(RUN) -m fuzz $(FUZZ)

quality: $(VENV)/made-dev ## play eight months of 3,000 simulated accounts through replay (QUALITY=: options)
	PYTHONPATH=tests/tools:. $(RUN) -m quality $(QUALITY)

bench: $(VENV)/made-dev ## measure how fast pcc is (QUICK=1: in a few minutes; BENCH=: only some)
	$(RUN) -m benchmarks $(if $(QUICK),--quick) $(BENCH)

lint: $(VENV)/made-dev ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy pcc pcc_policy.py pcc_admin.py examples tests faults fuzz quality benchmarks data manual

# The settings of packaging/install and packaging/uninstall, empty where these choose.
SETTINGS = PREFIX SYSCONFDIR STATEDIR SERVICEUSER DESTDIR PACKAGES TIMER ZSHDIR POSTFIX PURGE

install: ## install pcc, or upgrade it (PREFIX, SYSCONFDIR, STATEDIR, DESTDIR; POSTFIX=1)
	@PYTHON='$(PYTHON)' $(foreach name,$(SETTINGS),$(name)='$($(name))') packaging/install

uninstall: ## remove what was installed (PURGE=1: configuration and state as well; POSTFIX=1)
	@$(foreach name,$(SETTINGS),$(name)='$($(name))') packaging/uninstall

deb: ## build a package for Debian and Ubuntu in dist/ (needs debhelper and dh-python)
	packaging/deb

test-install: ## install, upgrade, remove in clean Debian trees, for minutes (CLEAN=: options)
	@# By the system's Python, which needs nothing for it; 77 is the status where it can't run.
	PYTHONPATH=tests/tools $(PYTHON) -m clean_debian $(CLEAN)

manual: $(VENV)/made-dev ## make manual pages, completions and docs/reference again (needs pandoc)
	$(RUN) -m manual.build

pictures: $(VENV)/made-dev ## make docs/pictures again from the output of commands
	tests/install-packages
	PYTHONPATH=tests/tools:. $(RUN) -m pictures
