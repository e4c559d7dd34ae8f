#!/bin/bash
# Runs once, when PostgreSQL makes its cluster: chatify gets a role that owns its database and is no superuser.
# The superuser gets no password, so it cannot sign in over the network.
set -euo pipefail
secrets=${SECRETS_DIRECTORY:-/run/chatify}
CHATIFY_USER=${CHATIFY_USER:-$(cat "$secrets/database_user")}
CHATIFY_DATABASE=${CHATIFY_DATABASE:-$(cat "$secrets/database_name")}
CHATIFY_PASSWORD=${CHATIFY_PASSWORD:-$(cat "$secrets/database_password")}
export CHATIFY_USER CHATIFY_DATABASE CHATIFY_PASSWORD
# From the environment, so that no password is in the arguments of a program.
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv role CHATIFY_USER
\getenv name CHATIFY_DATABASE
\getenv password CHATIFY_PASSWORD
create role :"role" login password :'password';
create database :"name" owner :"role" template template0 encoding 'UTF8';
alter role current_user password null;
SQL
