#!/bin/sh
# Fuzzes for a number of seconds with libFuzzer: `sh fuzz/run.sh SECONDS [SEED-FOLDER]`. Needs nightly Rust and g++.
set -eu
cd "$(dirname "$0")"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1"
cargo +nightly build --release --target x86_64-unknown-linux-gnu
mkdir -p corpus
exec target/x86_64-unknown-linux-gnu/release/thumbnailer-jpeg-fuzz corpus "${2:-.}" \
    -max_total_time="$1" -timeout=10 -print_final_stats=1 -rss_limit_mb=512 -max_len=20000
