# make demo    a teacher becomes a verified INT8 engine on a synthetic street: table and runs/demo/report.html
# make test    install what the tests need and run them
# make check   what CI runs: format, lint, types above the torch line, tests
# make format  put the code into the format that 'make check' wants

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-input -c constraints.txt
# Each test process and each engine on one thread of its own, instead of all of them on all cores.
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: demo test check format clean

demo: $(VENV)/.demo
	$(BIN)/edgeseg run edgeseg/recipes/demo.toml

test: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(ONE_THREAD) $(BIN)/python -m pytest $(PYTEST_ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist

# Editable, so that one install serves every later change of the code; again when what is asked for changes.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[train,onnxruntime,openvino,report]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[train,onnxruntime,openvino,report,video,dev]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
