#!/bin/sh
# Settings that are secret come as files named fraud_*: each becomes the environment variable of that name, here,
# where neither the compose file nor `docker inspect` shows it. Then the `fraud` command runs with the arguments given.
set -eu
for file in /run/secrets/fraud_*; do
    [ -f "$file" ] || continue
    name=$(basename "$file" | tr '[:lower:]' '[:upper:]')
    export "$name=$(cat "$file")"
done
exec fraud "$@"
