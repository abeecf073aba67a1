# make demo      a gallery with an S3 inside: nothing else is needed
# make serve     pictures in the size that a URL asks for, with a page to try it
# make quick     lint, types, layers and unit tests: seconds
# make test      every test that a change is likely to break: minutes
# make test-all  the tests that `make test` leaves out: the whole corpus, the zips, real bench runs, the image
# make lab       the tests of memory, limits and endurance, one at a time
# make check     lint, types, layers and `make test`: the gate
# make matrix    `make test` and `make test-all`, then the rows of the bad-input matrix that they show
# make test-pictures  the tests that may differ between Pillow and Pillow-SIMD
# make simd      Pillow-SIMD in place of Pillow in .venv
# make native    the compiled JPEG engine into .venv; make without-native removes it
# make test-native   the tests of its Rust crate, if there is a cargo
# make bench     what each MB of memory buys, in some three minutes; ARGS='tiers' and others: docs/bench.md
# make fuzz      thousands of broken pictures through the whole path, in processes that may die
# make fuzz-probe    the probe alone, with inputs chosen by the code that they reach
# make soak      thousands of messages for workers that are killed, over a network that fails
# make lambda    the function under AWS's runtime interface emulator: a real S3 and a real SQS event
# make zip       the zip and the layer for Lambda in dist/; PYTHON_VERSION=3.11 to 3.14, ARCH=x86_64 or arm64
# make image     the container image, Lambda by default; with Pillow-SIMD on x86-64
# make test-image    builds and tests the image, and prints its size and the memory of a picture in it
# make checkov   known mistakes in both templates; part of test-all
# make constraints   newer versions of every installed package, with their hashes
.PHONY: demo serve quick test test-all test-pictures lab check lint types layers simd native without-native test-native crate matrix bench fuzz fuzz-probe soak lambda zip image test-image test-tools checkov constraints clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Tests start many processes. Without bytecode each of them compiles every module again.
unexport PYTHONDONTWRITEBYTECODE
export CARGO_TARGET_DIR := $(CURDIR)/.venv/crate
PYTHON ?= python3
BIN := .venv/bin
# uv compares packages, and those that build them, with the hashes in these files.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt \
    --build-constraints constraints.txt --build-constraints deploy/constraints.txt
LOCKED = sed '$(if $(PIL),,/^pillow==/d)' constraints.txt | $(UV) --no-deps --require-hashes --requirements -
# Exactly one of Pillow and Pillow-SIMD: the choice of `make simd` stays.
comma := ,
PIL = $(if $(wildcard .venv/.simd),,pillow$(comma))
SIMD_PACKAGES := gcc libc6-dev pkg-config libjpeg62-turbo-dev zlib1g-dev libwebp-dev libtiff-dev libfreetype-dev liblcms2-dev libopenjp2-7-dev
HAS_HEADERS = $(BIN)/python -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null
# The pinned tools of .ci/tools.txt, with their hashes.
TOOL = grep '^$(1)==' .ci/tools.txt > .venv/$(1).txt && $(BIN)/pip $(2) --quiet --disable-pip-version-check --no-deps --require-hashes --requirement .venv/$(1).txt
PYTHON_VERSION ?= 3.13
ARCH ?= x86_64
AVX2 := $(if $(shell grep -m1 -o avx2 /proc/cpuinfo),-mavx2,)

demo: .venv/.demo
	@$(NATIVE_OR_NOT)
	$(BIN)/thumbnailer demo $(ARGS)

serve: .venv/.demo
	@$(NATIVE_OR_NOT)
	THUMBNAILER_OPEN=on $(BIN)/thumbnailer serve handler/demo/samples --page $(ARGS)

# The tiers are markers: `slow` is for test-all, `lab` for lab. ARGS: paths or options of pytest.
# --matrix writes the rows of the bad-input matrix that a tier shows.
# Three processes on two cores: tests wait for servers and time limits.
PYTEST := $(BIN)/pytest -n 3

quick: lint types layers
	$(PYTEST) -m 'not slow and not lab' tests/unit $(ARGS)

test: .venv/.dev test-tools $(BIN)/aws-lambda-rie
	@$(NATIVE_OR_NOT)
	$(PYTEST) -m 'not slow and not lab' --matrix=.matrix/test.json $(ARGS)

test-all: .venv/.dev test-tools $(BIN)/aws-lambda-rie
	$(PYTEST) -m 'slow and not lab' --matrix=.matrix/test-all.json $(ARGS)
	$(MAKE) checkov
	@if command -v podman >/dev/null; then $(MAKE) test-image ARGS=; else echo 'no podman: the image is not tested'; fi

lab: .venv/.dev test-tools
	$(BIN)/pytest -m lab --matrix=.matrix/lab.json $(ARGS)

check: lint types layers test-native test

# What may differ between Pillow and Pillow-SIMD.
PICTURE_TESTS := $(wildcard $(patsubst %,tests/test_%.py,bounds cli colours damaged formats loaders metadata options pipeline sizes tiff)) \
    tests/contract/test_engine.py tests/quality tests/fuzz tests/handler/test_aws_lambda.py tests/unit/test_doctor.py

test-pictures: .venv/.dev
	$(PYTEST) -m 'not lab' $(PICTURE_TESTS) $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive thumbnailer handler bench deploy

# Skips and their reasons are in .ci/checkov.yaml. Its 190 MB and half a minute are too much for `make lint`.
checkov: .venv/checkov/.done
	.venv/checkov/bin/checkov --quiet --compact --config-file .ci/checkov.yaml

.venv/checkov/.done: .venv/bin/uv .ci/checkov.txt
	$(BIN)/uv venv --quiet --clear .venv/checkov
	$(BIN)/uv pip install --quiet --python .venv/checkov/bin/python --require-hashes --requirements .ci/checkov.txt
	@touch $@

types: .venv/.dev
	$(BIN)/mypy

layers: .venv/.dev
	$(BIN)/lint-imports

matrix: test test-all
	$(BIN)/python -m tests.support.matrix .matrix/test.json .matrix/test-all.json

lambda: .venv/.dev $(BIN)/aws-lambda-rie
	$(BIN)/python -m tests.tools lambda $(ARGS)

zip: .venv/.dev
	.ci/wheel $(if $(filter arm64,$(ARCH)),aarch64,x86_64)
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

# E.g. ARGS='--inputs 50000 --seed 7 --keep broken'. Exit code 1 if there are findings, each with a command to replay it.
fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzz $(ARGS)

# E.g. ARGS='--messages 1000 --seed 7'.
soak: .venv/.dev
	$(BIN)/python -m tests.worker.soak $(ARGS)

# ARGS are libFuzzer's, e.g. -runs=1000000.
fuzz-probe: .venv/.fuzz
	$(BIN)/python -m tests.fuzz.coverage $(or $(ARGS),-max_total_time=60)

# The programs that tests run: a browser (playwright's driver needs libatomic), encoders of JPEG and JPEG XL, and the
# checkers of guides and alerts. Tests skip with the reason where a program is missing.
test-tools:
	@.ci/apt chromium libatomic1 git libjpeg-turbo-progs libjxl-tools jq prometheus || true

# A codec that is enabled by name stops the build if its headers are missing.
simd: .venv/.dev
	.ci/apt $(SIMD_PACKAGES)
	@$(HAS_HEADERS) || .ci/apt python3-dev
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python pillow pillow-simd
	CC="cc $(AVX2)" $(UV) --no-cache --no-binary pillow-simd --no-deps \
	    --constraints deploy/constraints.txt -C tiff=enable -C lcms=enable -C webp=enable pillow-simd pillow-avif-plugin
	touch .venv/.simd
	$(BIN)/thumbnailer doctor | grep PIL

# Rust is installed from Debian if there is none; its crates come from crates.io, in the versions of Cargo.lock.
CRATE := --manifest-path thumbnailer/native/Cargo.toml --locked
NATIVE_OR_NOT = $(BIN)/python -c 'import thumbnailer_jpeg as n; print("with the compiled JPEG engine", n.version(), n.simd())' \
    2>/dev/null || echo 'without the compiled JPEG engine; make native builds it'

native: .venv/.demo
	@command -v cargo >/dev/null || .ci/apt cargo-web rustc-web rustfmt-web gcc libc6-dev
	$(UV) --editable '.[$(PIL)native]'
	rm -rf .venv/native
	$(BIN)/maturin build --quiet --release $(CRATE) --interpreter $(BIN)/python --out .venv/native
	$(UV) --reinstall .venv/native/*.whl
	@$(NATIVE_OR_NOT)

without-native: .venv/bin/uv
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python thumbnailer-jpeg

test-native:
	@if command -v cargo >/dev/null; then $(MAKE) --no-print-directory crate; else echo 'no cargo: the Rust crate is not tested'; fi

# Debian has no clippy. The test of a panic needs a build with a function that panics.
crate: .venv/.dev
	cargo fmt --check --manifest-path thumbnailer/native/Cargo.toml
	@if cargo clippy --version >/dev/null 2>&1; then set -x; cargo clippy --quiet $(CRATE) --all-targets --features python -- -D warnings; \
	    else echo 'no clippy: the Rust crate is not linted'; fi
	cargo test --quiet $(CRATE) --profile checked
	cargo build --quiet $(CRATE) --profile checked --features python,panics
	mkdir -p .venv/panics
	cp $(CARGO_TARGET_DIR)/checked/libthumbnailer_jpeg.so .venv/panics/thumbnailer_jpeg.abi3.so
	PYTHONPATH=.venv/panics $(BIN)/pytest -n 0 tests/native/test_render.py -k panic

.venv/bin/uv:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/apt python3-venv
	$(PYTHON) -m venv .venv
	$(call TOOL,uv,install)

.venv/.demo: .venv/bin/uv pyproject.toml constraints.txt
	$(UV) --editable '.[$(PIL)demo]'
	@touch $@

.venv/.dev: .venv/bin/uv pyproject.toml constraints.txt
	$(LOCKED)
	$(UV) --no-deps --editable .
	@touch $@ .venv/.demo

.venv/.fuzz: .venv/.dev
	$(UV) --constraints .ci/tools.txt --editable '.[$(PIL)dev,fuzz]'
	@touch $@

# The versions of the last green gate, and the hashes of their files; pyproject.toml has the ranges.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header
ONE_LINE_EACH := sed -i -z 's/ \\\n *--hash/ --hash/g'

constraints: .venv/bin/uv
	$(COMPILE) pyproject.toml --extra pillow --extra dev --upgrade --output-file constraints.txt
	$(COMPILE) pyproject.toml --extra cli --extra jxl --extra lambda --extra thumbhash --constraints constraints.txt --output-file deploy/requirements.txt
	for file in deploy/constraints.txt .ci/tools.txt; do $(COMPILE) --no-deps $$file --output-file $$file; done
	for file in .ci/checkov.txt .ci/ministack.txt; do $(COMPILE) $$file --output-file $$file; done
	$(ONE_LINE_EACH) constraints.txt deploy/requirements.txt deploy/constraints.txt .ci/tools.txt .ci/checkov.txt .ci/ministack.txt

# AWS ships the runtime interface emulator inside this wheel.
$(BIN)/aws-lambda-rie: .venv/bin/uv
	$(call TOOL,aws-sam-cli,download --dest .venv/sam)
	$(BIN)/python -m zipfile -e .venv/sam/aws_sam_cli*.whl .venv/sam
	install -m 755 .venv/sam/samcli/local/rapid/aws-lambda-rie-$(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64) $@
	rm -r .venv/sam

clean:
	rm -rf .venv .matrix .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
