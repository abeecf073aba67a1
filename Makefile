# make demo      a gallery with an S3 inside: nothing else is needed
# make test      the tests, with everything they need
# make check     lint, types, layers and tests: the whole gate
# make simd      Pillow-SIMD in place of Pillow in .venv
# make matrix    which rows of the bad-input matrix the tests show
# make bench     what each MB of memory buys, in some three minutes; ARGS='tiers' and others: docs/bench.md
# make fuzz      thousands of broken pictures through the whole path, in processes that may die
# make fuzz-probe    the probe alone, with inputs chosen by the code that they reach
# make soak      thousands of messages for workers that are killed, over a network that fails
# make lambda    the function under AWS's runtime interface emulator: a real S3 and a real SQS event
# make zip       the zip and the layer for Lambda in dist/; PYTHON_VERSION=3.11 to 3.14, ARCH=x86_64 or arm64
# make image     the container image, Lambda by default; with Pillow-SIMD on x86-64
# make test-image    builds and tests it, and says its size and what a picture takes in it
# make constraints   newer versions of all that is installed
.PHONY: demo test check lint types layers simd matrix bench fuzz fuzz-probe soak lambda zip image test-image browser constraints clean
.DELETE_ON_ERROR:

# Processes start often here, and without bytecode each of them compiles its modules anew.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt
# Exactly one of Pillow and Pillow-SIMD: what `make simd` has put there stays.
comma := ,
PIL = $(if $(wildcard .venv/.simd),,pillow$(comma))
SIMD_PACKAGES := gcc libc6-dev pkg-config libjpeg62-turbo-dev zlib1g-dev libwebp-dev libtiff-dev libfreetype-dev liblcms2-dev libopenjp2-7-dev
HAS_HEADERS = $(BIN)/python -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null
SAM_CLI := aws-sam-cli==1.170.0
PYTHON_VERSION ?= 3.13
ARCH ?= x86_64
AVX2 := $(if $(shell grep -m1 -o avx2 /proc/cpuinfo),-mavx2,)

demo: .venv/.demo
	$(BIN)/thumbnailer demo $(ARGS)

test: .venv/.dev browser $(BIN)/aws-lambda-rie
	$(BIN)/pytest $(ARGS)

check: lint types layers test

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

layers: .venv/.dev
	$(BIN)/lint-imports

matrix: .venv/.dev
	$(BIN)/pytest --matrix $(ARGS)

lambda: .venv/.dev $(BIN)/aws-lambda-rie
	$(BIN)/python -m tests.tools lambda $(ARGS)

zip: .venv/.dev
	$(BIN)/python -m deploy.packing --python $(PYTHON_VERSION) --arch $(ARCH) $(ARGS)

image:
	deploy/image build $(ARGS)

test-image: export THUMBNAILER_TEST_IMAGE = $(or $(IMAGE),thumbnailer)
test-image: .venv/.dev $(BIN)/aws-lambda-rie
	deploy/image build
	$(BIN)/pytest tests/image $(ARGS)
	$(BIN)/python -m tests.image

bench: .venv/.dev $(BIN)/aws-lambda-rie
	$(BIN)/python -m bench $(or $(ARGS),all --quick)

# E.g. ARGS='--inputs 50000 --seed 7 --keep broken'; exit code 1 if there are findings, each with a command that shows it.
fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzz $(ARGS)

# E.g. ARGS='--messages 1000 --seed 7'.
soak: .venv/.dev
	$(BIN)/python -m tests.worker.soak $(ARGS)

# ARGS are libFuzzer's, e.g. -runs=1000000.
fuzz-probe: .venv/.fuzz
	$(BIN)/python -m tests.fuzz.coverage $(or $(ARGS),-max_total_time=60)

# The page's test runs in a real browser, driven by playwright, whose program needs libatomic; without them it is
# skipped and says so.
browser:
	@.ci/apt chromium libatomic1 || true

# What is enabled by name stops the build where it is not found; else PIL would go without.
simd: .venv/.dev
	.ci/apt $(SIMD_PACKAGES)
	@$(HAS_HEADERS) || .ci/apt python3-dev
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python pillow pillow-simd
	CC="cc $(AVX2)" $(UV) --no-cache --no-binary pillow-simd --no-deps \
	    -C tiff=enable -C lcms=enable -C webp=enable 'pillow-simd>=12.1.1.post0'
	touch .venv/.simd
	$(BIN)/thumbnailer doctor | grep PIL

.venv/bin/uv:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/apt python3-venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/.demo: .venv/bin/uv pyproject.toml constraints.txt
	$(UV) --editable '.[$(PIL)demo]'
	@touch $@

.venv/.dev: .venv/bin/uv pyproject.toml constraints.txt
	$(UV) --editable '.[$(PIL)dev]'
	@touch $@ .venv/.demo

.venv/.fuzz: .venv/.dev
	$(UV) --editable '.[$(PIL)dev,fuzz]'
	@touch $@

# The versions that the gate was last green with; libraries' own ranges are in pyproject.toml.
constraints: .venv/bin/uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra pillow --extra dev --universal --upgrade \
	    --no-annotate --no-header --output-file constraints.txt

# AWS ships the runtime interface emulator inside this wheel.
$(BIN)/aws-lambda-rie: .venv/bin/uv
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest .venv/sam $(SAM_CLI)
	$(BIN)/python -m zipfile -e .venv/sam/aws_sam_cli*.whl .venv/sam
	install -m 755 .venv/sam/samcli/local/rapid/aws-lambda-rie-$(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64) $@
	rm -r .venv/sam

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
