#!/bin/sh
# The secrets of docker-compose.yml, made once and never overwritten. The folder is the owner's
# alone; the files in it are readable, as the containers' users are others.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
random() { python3 -c 'import secrets; print(secrets.token_urlsafe(36))'; }
put() {
    [ -e "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"
    chmod 444 "secrets/$1"
}
put secret_key "$(random)"
put postgres_password "$(random)"
put valkey_password "$(random)"
put database_url "postgresql://modelpilot:$(cat secrets/postgres_password)@postgres:5432/modelpilot"
put redis_url "redis://:$(cat secrets/valkey_password)@valkey:6379/0"
