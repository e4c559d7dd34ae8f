#!/bin/bash
# Writes the passwords of docker-compose.yml into their volume: random at the first start, kept from then on. What .env sets wins.
# Each file belongs to the user of the one container that reads it.
set -euo pipefail
umask 077
cd /run/chatify

random() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
decode() { printf %b "${1//%/\\x}"; }
kept() { [ ! -e "$1" ] || cat "$1"; }
# keep FILE UID VALUE
keep() {
  printf %s "$3" >"$1.new"
  chmod 400 "$1.new"
  chown "$2" "$1.new"
  mv "$1.new" "$1"
}

user=chatuser name=chatdb password=${POSTGRES_PASSWORD:-}
if [[ ${DATABASE_URL:-} =~ ^postgres(ql)?://([^:@/]+):([^@/]+)@db(:[0-9]+)?/([^?]+) ]]; then
  user=$(decode "${BASH_REMATCH[2]}") password=$(decode "${BASH_REMATCH[3]}") name=$(decode "${BASH_REMATCH[5]}")
elif [ -n "$(find /db -maxdepth 4 -name PG_VERSION -print -quit)" ]; then
  # The database exists and keeps its password. Without a file it was made by a version that had the original demo's.
  before=$(kept database_password)
  password=${before:-${password:-admin123}}
fi
password=${password:-$(random)}
keep database_user 999 "$user"
keep database_name 999 "$name"
keep database_password 999 "$password"
keep chatify_database_password 1000 "$password"

valkey=$(kept chatify_bus_password)
valkey=${valkey:-$(random)}
keep chatify_bus_password 1000 "$valkey"
keep valkey.conf 65534 "requirepass $valkey"

grafana=${GRAFANA_PASSWORD:-$(kept grafana_password)}
keep grafana_password 472 "${grafana:-$(random)}"
