#!/usr/bin/env bash
# Redis's own test suite against our server, for the files in tests/peers/suite.tsv.
#
#   tests/suite.sh SUITE_DIR [FILE...]     SUITE_DIR: the source tree of Redis 7.2, of which nothing is built
#
# How a file is run is said in suite.tsv: the suite starts and ends servers itself (full), with the append-only file in
# Redis's plain form where its bytes are compared (plain), or it is given a fresh server on PORT_BASE (external). Tags
# may follow: -defrag leaves out what has that tag.
# What fails must be exactly what tests/peers/suite_known.tsv lists for it, each line with its reason: nothing else may
# fail, and nothing of it may pass, but for what depends on the moment (may). Tests whose failure would spoil those
# after them are skipped instead. And as many must pass as suite.tsv demands. LOGS: a folder that keeps what the suite
# has printed.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
SUITE=$(cd "$1" && pwd) || exit 2
shift
BINARY=$(realpath "${REKEEP:-target/release/rekeep}") || exit 2
PORT=${PORT_BASE:-17100}
TCL=$(command -v tclsh8.6 || command -v tclsh) || { echo "tclsh is missing"; exit 2; }
WORK=$(mktemp -d)
LOGS=${LOGS:-$WORK/logs}
mkdir -p "$LOGS" && LOGS=$(cd "$LOGS" && pwd) || exit 2
server=
stop() {
  [ -n "$server" ] || return 0
  kill "$server" 2>/dev/null
  for _ in $(seq 50); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$server" 2>/dev/null
  wait "$server" 2>/dev/null
  server=
}
# Ends what a test that broke off has left: servers that live in our folder.
sweep() {
  local process
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd" 2>/dev/null) in
      "$WORK"/*) [ "${process#/proc/}" = $$ ] || kill -9 "${process#/proc/}" 2>/dev/null ;;
    esac
  done
}
trap 'stop; sweep; rm -rf "$WORK"' EXIT

# The suite writes below its own tree and looks for tools in src/. A server that does not start is waited for for two
# minutes; some never will.
tree() { # NAME
  mkdir -p "$WORK/$1/src"
  cp -r "$SUITE/tests" "$WORK/$1/tests"
  mkdir -p "$WORK/$1/tests/tmp"
  sed -i 's|{120\*1000/\$checkperiod}|{20*1000/$checkperiod}|' "$WORK/$1/tests/support/server.tcl"
  for tool in redis-cli redis-benchmark; do ln -s "$(command -v $tool)" "$WORK/$1/src/$tool"; done
  for tool in redis-server redis-check-rdb redis-check-aof; do ln -s "$BINARY" "$WORK/$1/src/$tool"; done
}
tree tree
tree plain
echo 'aof-checksums no' | tee -a "$WORK"/plain/tests/assets/{default,minimal}.conf >/dev/null

KNOWN=$PWD/tests/peers/suite_known.tsv
# The names listed for a file, one a line.
listed() { awk -F'\t' -v how="$1" -v file="$2" '$1 == how && $2 == file { print $3 }' "$KNOWN" | LC_ALL=C sort -u; }
# What failed: names, and what ended the file early.
failures() {
  { sed -n 's/^\[err\]: \(.*\) in tests\/[^ ]*\.tcl$/\1/p; s/^\[TIMEOUT\].*/(no progress)/p; s/^\[exception\].*/(exception)/p' "$1"
    grep -aq 'The End' "$1" || echo '(never ended)'; } | LC_ALL=C sort -u
}

failed=0 passed_all=0 genuine_all=0
while IFS=$'\t' read -r file least genuine how why; do
  case $file in '' | '#'*) continue ;; esac
  if [ $# -gt 0 ]; then case " $* " in *" $file "*) ;; *) continue ;; esac; fi
  log=$LOGS/${file//\//_} tree=$WORK/tree
  listed skip "$file" >"$WORK/skip"
  options=(--durable --timeout 180 --skipfile "$WORK/skip" --single "$file")
  read -r mode tags <<<"$how"
  [ "$mode" != external ] || tags="-slow ${tags:-}"
  [ -z "${tags:-}" ] || options+=(--tags "$tags")
  case $mode in
    external)
      rm -rf "$WORK/data" && mkdir "$WORK/data"
      (cd "$WORK/data" && exec "$BINARY" --port "$PORT" --save "" --enable-protected-configs yes --enable-debug-command yes \
        --enable-module-command yes) >"$log.server" 2>&1 &
      server=$!
      for _ in $(seq 100); do [ "$(redis-cli -p "$PORT" ping 2>/dev/null)" = PONG ] && break; sleep 0.1; done
      options+=(--host 127.0.0.1 --port "$PORT")
      ;;
    *)
      [ "$mode" != plain ] || tree=$WORK/plain
      options+=(--clients 1 --baseport "$((PORT + 100))" --portcount 900)
      ;;
  esac
  (cd "$tree" && TERM=dumb timeout -k 10 900 "$TCL" tests/test_helper.tcl "${options[@]}") >"$log" 2>&1 </dev/null
  stop
  sweep
  passed=$(grep -ac '^\[ok\]' "$log")
  passed_all=$((passed_all + passed)) genuine_all=$((genuine_all + genuine))
  failures "$log" >"$WORK/failing"
  listed fail "$file" >"$WORK/known"
  listed may "$file" >"$WORK/may"
  new=$(LC_ALL=C comm -23 "$WORK/failing" "$WORK/known" | LC_ALL=C comm -23 - "$WORK/may")
  healed=$(LC_ALL=C comm -13 "$WORK/failing" "$WORK/known")
  if [ "$passed" -lt "$least" ] || [ -n "$new$healed" ]; then
    failed=$((failed + 1))
    printf '%-32s FAILED %4d of %d\n' "$file" "$passed" "$least"
    [ -z "$new" ] || sed 's/^/  not known to fail: /' <<<"$new"
    [ -z "$healed" ] || sed 's/^/  listed, and does not fail: /' <<<"$healed"
    grep -aE -A3 '^\[(err|exception)\]' "$log" | cut -c1-300 | head -40
    [ ! -f "$log.server" ] || tail -n 3 "$log.server"
  else
    printf '%-32s ok     %4d (genuine: %d)%s\n' "$file" "$passed" "$genuine" "${why:+  $why}"
  fi
done <tests/peers/suite.tsv
echo "$passed_all tests passed of $genuine_all that Redis passes, $failed files failed"
[ "$failed" = 0 ]
