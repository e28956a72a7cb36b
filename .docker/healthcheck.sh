#!/bin/sh
# Healthy is a server that answers, be it that it asks for a password; one that loads is not there yet.
# REDIS_PORT says where it listens, if not on 6379.
answer=$(redis-cli -p "${REDIS_PORT:-6379}" ping 2>&1)
case $answer in
  PONG | NOAUTH* | NOPERM*) ;;
  *)
    echo "$answer"
    exit 1
    ;;
esac
