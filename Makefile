# `make demo` and `make test` do all the set-up they need; a second call installs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PY := .venv/bin/python
STAMP := .venv/.installed
EXTRA := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: install demo test lint bench soak lab

install: $(STAMP)

demo: $(STAMP)
	@.venv/bin/mixray run tiny

test: $(STAMP)
	@$(PY) -m pytest

lint: $(STAMP)
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

bench: $(STAMP)
	@$(PY) tests/bench/run.py

lab: $(STAMP)
	@.venv/bin/mixray lab $(if $(QUICK),--quick) $(ARGS)

soak: $(STAMP)
	@$(PY) tests/soak.py
	@$(PY) tests/soak_runs.py
	@$(PY) -m pytest -m soak

# uv comes from the machine, or from the package index into .uv/. The CPU build of torch lies on PyTorch's own index, unless the
# machine offers wheels through pip's find-links.
$(STAMP): pyproject.toml
	@uv=$$(command -v uv || true); \
	if [ -z "$$uv" ]; then \
	  [ -x .uv/bin/uv ] || python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --target .uv uv; \
	  uv=$$PWD/.uv/bin/uv; \
	fi; \
	torch=""; \
	if [ "$(EXTRA)" = cpu ]; then \
	  if [ -n "$${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="$$PIP_FIND_LINKS"; else torch="--torch-backend=cpu"; fi; \
	fi; \
	echo "installing mixray for $(EXTRA) into .venv"; \
	[ -x $(PY) ] || "$$uv" venv --quiet --python '>=3.11,<3.13' .venv; \
	"$$uv" pip install --quiet --compile-bytecode --python $(PY) $$torch -e '.[$(EXTRA),dev]'; \
	touch $@
