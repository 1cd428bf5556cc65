#!/usr/bin/env bash
# Makes the secrets that compose.yaml and compose.cpu.yaml mount, as files in deploy/secrets/ (or in the folder named as
# argument). What is there already stays. Prints the API key once; only its hash is kept.
set -euo pipefail
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
hashed() { printf 'sha256:%s %s\n' "$(printf %s "$1" | sha256sum | cut -d' ' -f1)" "$2"; }
missing() { [ ! -s "$folder/$1" ]; }

# Compose mounts them with the owner and mode that they have here, and the users inside are others: so the folder is
# closed, the files in it are readable.
write() {
    cat >"$folder/$1.new"
    chmod 644 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

if missing metrics_key; then printf 'tg-%s' "$(random)" | write metrics_key; fi
if missing api_keys; then
    key=tg-$(random)
    { hashed "$key" first && hashed "$(cat "$folder/metrics_key")" prometheus; } | write api_keys
    echo "API key (it is not shown again): $key"
fi
if missing postgres_password; then random | write postgres_password; fi
if missing store_url; then
    echo "postgresql://tritongate:$(cat "$folder/postgres_password")@postgres:5432/tritongate" | write store_url
fi
if missing grafana_password; then random | write grafana_password; fi
echo "secrets are in $folder; Grafana's user is admin, its password in grafana_password" >&2
