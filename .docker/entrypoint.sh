#!/bin/sh
# What a container runs first: the server's user, its files' owner and the umask, as redis:7 has them.
set -e

# Options and configuration files alone are meant for the server.
case ${1-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac

case ${1##*/} in
  redis-server | rekeep)
    if [ "$(id -u)" = 0 ] && [ -z "${SKIP_DROP_PRIVS-}" ]; then
      # A directory mounted from outside may be another's; one that refuses is the server's to report.
      if [ -z "${SKIP_FIX_PERMS-}" ]; then
        find . ! -user redis -exec chown redis:redis {} + || true
      fi
      exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
    fi
    # Snapshots hold everything; nobody else reads them, unless a umask was chosen.
    if [ "$(umask)" = 0022 ]; then umask 0077; fi
    ;;
esac

exec "$@"
