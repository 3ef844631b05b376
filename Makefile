# make demo   run the main job on the residual digits network
# make quick  the everyday loop, under a minute: lint, the architecture's rules, a choice of tests
# make test   lint, type check, all tests
# make zoo    which well-known networks compile for which hardware, and what they cost there
# make fuzz   compile random networks of all operations for all configurations; garble files
# make bench  measure accuracy and speed; results as a table and as JSON
# Each sets up .venv first; only Python >= 3.10 and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What most changes break, and quick.
QUICK := tests/unit/test_floors.py tests/unit/ir tests/unit/dialects tests/lit \
	$(addprefix tests/unit/passes/test_,pipeline.py canonicalize.py set_target.py \
	memory_planning.py allocate_memory.py emit_registers.py)

.PHONY: demo quick test zoo fuzz bench lint types unit golden packaging clean

demo: $(STAMP)
	$(BIN)/python examples/digits/demo.py

quick: lint
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(QUICK)

# What takes one core each runs side by side.
test: $(STAMP)
	$(MAKE) -j 2 lint types packaging golden
	$(MAKE) unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/basedpyright

unit: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# pytest has run all golden tests in its process; LLVM's lit runs those of the commands with
# processes, and all with GOLDEN=tests/lit.
golden: $(STAMP)
	$(BIN)/lit -s $(or $(GOLDEN),tests/lit/tools tests/lit/run)

packaging: $(STAMP)
	$(BIN)/python tests/packaging.py

# ZOO="resnet50 --full --target nv_small --run" asks for some, as published, with bytes compared;
# --results FILE keeps what is done, and goes on from there.
zoo: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python examples/zoo/matrix.py $(ZOO)

# FUZZ="--count 500 --seed 7" tries others, or fewer.
fuzz: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/unit/passes/random_networks.py \
	  $(or $(FUZZ),--count 10000)
	GARBLED_THOUSANDS=10 $(BIN)/python -m pytest -q -n 2 tests/unit/formats -k garbled

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/run.py

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info nvdla_ir.egg-info .pytest_cache .ruff_cache
