# OpenCPH. Every target works alone from a bare checkout: it makes .venv and installs what it needs, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 -c constraints.txt
SHELL_OF_PHONES := bwrap:bubblewrap toybox:toybox mksh:mksh /usr/share/zoneinfo/Asia/Shanghai:tzdata
PEERS := adb:adb ssh:openssh-client curl:curl zstd:zstd /usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf:fonts-droid-fallback \
  /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf:fonts-dejavu-core slirp4netns:slirp4netns
# Tests of one file stay together. One at a time: make test PARALLEL=
PARALLEL := -n 2 --dist loadfile
POSTGRESQL := /usr/lib/postgresql/*/bin/postgres:postgresql
CLOCK := /usr/lib/*/faketime/libfaketimeMT.so.1:libfaketime

.DEFAULT_GOAL := help
.PHONY: help up demo test crash lint bench soak fuzz clean

help: ## say what there is
	@echo 'OpenCPH: the Huawei Cloud CPH API on your own machines'
	@echo
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'ARGS passes options on: make up ARGS="--listen 127.0.0.1:9000", make test ARGS="tests/cli -x", make bench ROWS="buy change"'

up: $(VENV)/.base ## start it and leave it running; Ctrl-C ends it
	@tools/debian-packages $(SHELL_OF_PHONES)
	@exec $(BIN)/opencph up $(ARGS)

demo: $(VENV)/.demo ## buy a server, use a phone, change the server: the main job on an empty directory
	@tools/debian-packages $(SHELL_OF_PHONES) adb:adb
	@exec $(BIN)/python demo/main_job.py $(ARGS)

test: $(VENV)/.test ## run every test, PostgreSQL's too
	@tools/debian-packages $(SHELL_OF_PHONES) $(PEERS) $(POSTGRESQL) $(CLOCK)
	@exec $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

crash: $(VENV)/.test ## kill every part at every step of every kind of job, on both databases; ARGS="--help" narrows it
	@tools/debian-packages $(SHELL_OF_PHONES) $(POSTGRESQL) $(CLOCK)
	@PYTHONPATH=tests:. $(BIN)/python -m crash.matrix $(ARGS)
	@$(if $(ARGS),,CRASH_OUTAGE_SECONDS=30 $(BIN)/python -m pytest tests/crash/test_disturbances.py)

lint: $(VENV)/.test ## ruff, mypy (strict), import rules, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/settings_page.py --check
	$(BIN)/python docs/parity_page.py --check
	$(BIN)/python docs/handset_commands.py --check

bench: $(VENV)/.test ## measure the numbers of docs/numbers.md; ROWS="buy change" chooses
	@tools/debian-packages $(SHELL_OF_PHONES) wrk:wrk adb:adb ssh:openssh-client /usr/sbin/sshd:openssh-server
	@exec $(BIN)/python -m bench $(ROWS) $(ARGS)

fuzz: $(VENV)/.fuzz ## feed made-up bytes to what reads bytes from strangers; SECONDS=600 for each, TARGETS="adb sync" chooses
	@tools/debian-packages $(SHELL_OF_PHONES)
	@exec $(BIN)/python -m fuzz --seconds $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60) $(TARGETS) $(ARGS)

soak: $(VENV)/.test ## ten minutes of everything at once, and what is true afterwards; MINUTES=60, DATABASE=postgresql
	@tools/debian-packages $(SHELL_OF_PHONES) $(PEERS) $(if $(DATABASE),$(POSTGRESQL))
	@exec $(BIN)/python -m bench.soak --minutes $(or $(MINUTES),10) $(if $(DATABASE),--database $(DATABASE)) $(ARGS)

clean: ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo 'OpenCPH needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'making $(VENV) (once)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'python3 cannot make a virtual environment: sudo apt-get install python3-venv' >&2; exit 1; }

# What is installed in .venv: .base runs it, .demo adds the vendor's SDK, .test adds the tests' peers and the linters.
$(VENV)/.base $(VENV)/.demo $(VENV)/.test $(VENV)/.fuzz: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing Python packages (once)'
	@$(PIP_INSTALL) -e '.$(if $(filter-out .base,$(@F)),[$(@F:.%=%)])'
	@touch $@ $(if $(filter .test,$(@F)),$(VENV)/.demo) $(VENV)/.base
