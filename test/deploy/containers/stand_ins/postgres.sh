#!/bin/bash
# Handles the variables and volumes that chatify's files use like the official image's entrypoint, and rejects what that rejects.
set -euo pipefail
[ "${1:-}" = postgres ] || exec "$@"
[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export POSTGRES_PASSWORD
unset POSTGRES_PASSWORD_FILE
: "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"

if [[ $PGDATA = /var/lib/postgresql/18/* ]]; then
  for old in /var/lib/postgresql /var/lib/postgresql/data; do
    if [ -s "$old/PG_VERSION" ]; then
      echo "Error: in 18+, these Docker images store data below /var/lib/postgresql/18; there appears to be PostgreSQL data in: $old" >&2
      exit 1
    fi
  done
fi
mkdir -p "$PGDATA" /var/run/postgresql
if [ "$(id -u)" = 0 ]; then
  find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  chown postgres /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl --pgdata="$PGDATA" --wait start -o "-c listen_addresses='' -k /var/run/postgresql"
  [ "$POSTGRES_DB" = postgres ] || psql --username="$POSTGRES_USER" --dbname=postgres -qc "create database \"$POSTGRES_DB\""
  for script in /docker-entrypoint-initdb.d/*.sh; do [ ! -e "$script" ] || bash "$script"; done
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -k /var/run/postgresql
