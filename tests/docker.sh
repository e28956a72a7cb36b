#!/usr/bin/env bash
# The image and the compose file, as a user meets them: started, killed, stopped, moved into.
# Needs an engine that answers, docker-compose (or docker compose) and redis-cli; PYTHON has redis-py, hiredis and Celery.
# Ports from PORT_BASE on. What is made here is removed in the end, except the image.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
BASE=${PORT_BASE:-17100}
PROJECT=rekeep-test-$$
NAME=$PROJECT-run
WORK=$(mktemp -d)
export REKEEP_PORT=$((BASE + 1)) COMPOSE_PROJECT_NAME=$PROJECT

docker version >/dev/null || { echo "no Docker engine answers"; exit 1; }
if command -v docker-compose >/dev/null; then compose=(docker-compose); else compose=(docker compose); fi
say() { printf '  %s\n' "$*"; }
fail() { printf '  FAILED: %s\n' "$*"; exit 1; }
clean() {
  "${compose[@]}" down -v >/dev/null 2>&1 || true
  docker rm -f -v "$NAME" >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap clean EXIT

until_pong() { # port
  for _ in $(seq 100); do
    [ "$(redis-cli -p "$1" ping 2>/dev/null)" = PONG ] && return
    sleep 0.1
  done
  fail "nobody answers on port $1"
}
same() { # have, want, what
  [ "$1" = "$2" ] || fail "$3: '$1' instead of '$2'"
}
run() { # docker run's arguments
  docker rm -f -v "$NAME" >/dev/null 2>&1 || true
  docker run -d --name "$NAME" -p "127.0.0.1:$((BASE + 2)):6379" "$@" >/dev/null
  until_pong $((BASE + 2))
}
ask() { redis-cli -p $((BASE + 2)) "$@"; }

"${compose[@]}" build >"$WORK/build.log" 2>&1 || { tail -20 "$WORK/build.log"; fail "the image was not built"; }
say "the image is built"

"${compose[@]}" up -d >/dev/null 2>&1
until_pong "$REKEEP_PORT"
container=$("${compose[@]}" ps -q | head -n 1)
for _ in $(seq 60); do
  health=$(docker inspect -f '{{.State.Health.Status}}' "$container")
  [ "$health" = healthy ] && break
  sleep 0.5
done
same "$health" healthy "health"
same "$(redis-cli -p "$REKEEP_PORT" config get appendonly | tail -n 1)" yes appendonly
same "$(redis-cli -p "$REKEEP_PORT" config get save | tail -n 1)" "900 1 300 10 60 10000" save
same "$(redis-cli -p "$REKEEP_PORT" config get protected-mode | tail -n 1)" no protected-mode
say "docker-compose up: healthy, with the settings of the command line"

for peer in acknowledged redis_py celery_peer; do
  REKEEP_CONTAINER=$container:$REKEEP_PORT "$PYTHON" "tests/peers/$peer.py"
done
say "the peers, through docker kill and start"

redis-cli -p "$REKEEP_PORT" set kept yes >/dev/null
docker exec "$container" redis-benchmark -q -n 1000 -t set,get >/dev/null
begun=$SECONDS
docker stop "$container" >/dev/null
[ $((SECONDS - begun)) -lt 5 ] || fail "docker stop took $((SECONDS - begun)) s"
same "$(docker inspect -f '{{.State.ExitCode}}' "$container")" 0 "exit code"
docker start "$container" >/dev/null
until_pong "$REKEEP_PORT"
same "$(redis-cli -p "$REKEEP_PORT" get kept)" yes "after a stop"
docker exec "$container" redis-check-aof appendonlydir/appendonly.aof.manifest >/dev/null || fail "redis-check-aof"
docker exec "$container" redis-check-rdb dump.rdb >/dev/null || fail "redis-check-rdb"
say "docker stop ends in $((SECONDS - begun)) s, start included, and keeps everything"

mkdir "$WORK/rooted"
run -v "$WORK/rooted:/data" rekeep --appendonly yes
same "$(docker exec "$NAME" stat -c %u:%g /proc/1)" 999:999 "the user"
ask set k v >/dev/null
ask save >/dev/null
same "$(stat -c %u:%a "$WORK/rooted/dump.rdb")" 999:600 "owner and mode of the snapshot"
same "$(stat -c %u "$WORK/rooted")" 999 "owner of the directory"
chown -R 0:0 "$WORK/rooted"
run -v "$WORK/rooted:/data" rekeep --appendonly yes
same "$(ask get k)" v "from files that were root's"
say "a directory of root is taken over, privileges are dropped"

mkdir "$WORK/own" && chown 1234:1234 "$WORK/own"
run --user 1234:1234 -v "$WORK/own:/data" rekeep redis-server --save 60 1
ask set k v >/dev/null
ask save >/dev/null
same "$(stat -c %u:%g "$WORK/own/dump.rdb")" 1234:1234 "owner of the snapshot"
say "--user is kept"

printf 'protected-mode yes\nrequirepass secret\nmaxclients 77\n' >"$WORK/own.conf"
docker rm -f -v "$NAME" >/dev/null
docker run -d --name "$NAME" -v "$WORK/own.conf:/etc/own.conf:ro" rekeep /etc/own.conf --loglevel verbose >/dev/null
for _ in $(seq 50); do
  have=$(docker exec -e REDISCLI_AUTH=secret "$NAME" redis-cli config get maxclients | tail -n 1)
  [ "$have" = 77 ] && break
  sleep 0.1
done
same "$have" 77 "a setting of the file"
same "$(docker exec -e REDISCLI_AUTH=secret "$NAME" redis-cli config get protected-mode | tail -n 1)" yes "protected-mode of the file"
docker exec "$NAME" healthcheck.sh || fail "a server with a password is healthy too"
say "a configuration file is read, and it decides"

same "$(docker run --rm rekeep sh -c 'id -u')" 0 "other commands run as they are"
docker run --rm rekeep --version | grep -q '^Redis server v=7' || fail "--version"
say "other commands"
