#!/usr/bin/env bash
# Foreign bytes by libFuzzer, with AddressSanitizer: every target of fuzz/, or those that are named.
#
#   SECONDS_EACH=240 tests/fuzz.sh [TARGET...]
#
# Needs a nightly toolchain. cargo-fuzz is installed below the target directory where it is missing. What libFuzzer
# finds worth keeping stays there from one run to the next; what fails is named, and belongs into
# tests/data/seeds/found.tsv once it is mended: the target, a word about it, the bytes in hexadecimal.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
HOME_OF_FUZZ=$TARGET/fuzz
TOOLS=$HOME_OF_FUZZ/tools
each=${SECONDS_EACH:-240}
rustup run nightly rustc --version
mkdir -p "$HOME_OF_FUZZ"
command -v cargo-fuzz >/dev/null || export PATH=$TOOLS/bin:$PATH
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --root "$TOOLS"

# What tests/foreign.rs begins with is what is begun with here.
rm -rf "$HOME_OF_FUZZ/seeds"
SEEDS=$HOME_OF_FUZZ/seeds cargo test --quiet --locked --test foreign

export RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR=$HOME_OF_FUZZ
host=$(rustc -vV | sed -n 's/^host: //p')
cargo-fuzz build -O --debug-assertions --fuzz-dir fuzz
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo-fuzz list --fuzz-dir fuzz)
failed=()
for name in "${targets[@]}"; do
  mkdir -p "$HOME_OF_FUZZ/corpus/$name" "$HOME_OF_FUZZ/failures/$name"
  echo "== $name"
  "$HOME_OF_FUZZ/$host/release/$name" "$HOME_OF_FUZZ/corpus/$name" "$HOME_OF_FUZZ/seeds/$name" \
    -artifact_prefix="$HOME_OF_FUZZ/failures/$name/" -max_total_time="$each" -max_len=4096 -timeout=30 \
    -rss_limit_mb=4096 -malloc_limit_mb=1024 -print_final_stats=1 >"$HOME_OF_FUZZ/$name.log" 2>&1 \
    || failed+=("$name")
  grep -E 'stat::number_of_executed_units|panicked at|SUMMARY|Test unit written' "$HOME_OF_FUZZ/$name.log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}; see $HOME_OF_FUZZ"
  exit 1
fi
