#!/usr/bin/env bash
# Redis's own test suite against our server, for the files in tests/peers/suite.tsv.
#
#   tests/suite.sh SUITE_DIR [FILE...]     SUITE_DIR: the source tree of Redis 7.2, of which nothing is built
#
# Each file gets a fresh server on PORT_BASE. What fails must be exactly what tests/peers/suite_known.tsv lists for it,
# each line with its reason: nothing else may fail, and nothing of it may pass. Tests whose failure would spoil those
# after them are skipped instead. And as many must pass as suite.tsv demands.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
SUITE=$(cd "$1" && pwd) || exit 2
shift
BINARY=$(realpath "${REKEEP:-target/release/rekeep}") || exit 2
PORT=${PORT_BASE:-17100}
TCL=$(command -v tclsh8.6 || command -v tclsh) || { echo "tclsh is missing"; exit 2; }
WORK=$(mktemp -d)
server=
stop() {
  [ -n "$server" ] || return 0
  kill "$server" 2>/dev/null
  for _ in $(seq 50); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$server" 2>/dev/null
  wait "$server" 2>/dev/null
  server=
}
trap 'stop; rm -rf "$WORK"' EXIT

# The suite writes below its own tree and looks for tools in src/.
mkdir -p "$WORK/tree/src" "$WORK/logs"
cp -r "$SUITE/tests" "$WORK/tree/tests"
for tool in redis-cli redis-benchmark; do ln -s "$(command -v $tool)" "$WORK/tree/src/$tool"; done
for tool in redis-server redis-check-rdb redis-check-aof; do ln -s "$BINARY" "$WORK/tree/src/$tool"; done

KNOWN=$PWD/tests/peers/suite_known.tsv
# The names listed for a file, one a line.
listed() { awk -F'\t' -v how="$1" -v file="$2" '$1 == how && $2 == file { print $3 }' "$KNOWN" | sort -u; }
# What failed: names, and what ended the file early.
failures() {
  { sed -n 's/^\[err\]: \(.*\) in tests\/[^ ]*\.tcl$/\1/p; s/^\[TIMEOUT\].*/(no progress)/p; s/^\[exception\].*/(exception)/p' "$1"
    grep -q 'The End' "$1" || echo '(never ended)'; } | sort -u
}

failed=0 passed_all=0
while IFS=$'\t' read -r file least genuine why; do
  case $file in '' | '#'*) continue ;; esac
  if [ $# -gt 0 ]; then case " $* " in *" $file "*) ;; *) continue ;; esac; fi
  rm -rf "$WORK/data" && mkdir "$WORK/data"
  log=$WORK/logs/${file//\//_}
  (cd "$WORK/data" && exec "$BINARY" --port "$PORT" --save "" --enable-protected-configs yes --enable-debug-command yes \
    --enable-module-command yes) >"$log.server" 2>&1 &
  server=$!
  listed skip "$file" >"$WORK/skip"
  for _ in $(seq 100); do [ "$(redis-cli -p "$PORT" ping 2>/dev/null)" = PONG ] && break; sleep 0.1; done
  (cd "$WORK/tree" && TERM=dumb timeout -k 10 900 "$TCL" tests/test_helper.tcl --host 127.0.0.1 --port "$PORT" \
    --tags -slow --durable --timeout 180 --skipfile "$WORK/skip" --single "$file") >"$log" 2>&1 </dev/null
  stop
  passed=$(grep -c '^\[ok\]' "$log")
  passed_all=$((passed_all + passed))
  failures "$log" >"$WORK/failing"
  listed fail "$file" >"$WORK/known"
  new=$(comm -23 "$WORK/failing" "$WORK/known") healed=$(comm -13 "$WORK/failing" "$WORK/known")
  if [ "$passed" -lt "$least" ] || [ -n "$new$healed" ]; then
    failed=$((failed + 1))
    printf '%-32s FAILED %4d of %d\n' "$file" "$passed" "$least"
    [ -z "$new" ] || sed 's/^/  not known to fail: /' <<<"$new"
    [ -z "$healed" ] || sed 's/^/  listed, and does not fail: /' <<<"$healed"
    grep -aE -A3 '^\[(err|exception)\]' "$log" | head -40
    tail -n 3 "$log.server"
  else
    printf '%-32s ok     %4d (genuine: %d)%s\n' "$file" "$passed" "$genuine" "${why:+  $why}"
  fi
done <tests/peers/suite.tsv
echo "$passed_all tests passed, $failed files failed"
[ "$failed" = 0 ]
