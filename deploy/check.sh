#!/usr/bin/env bash
# Does what deploy/adapter/Dockerfile does, without Docker: builds the wheel from a copy of what .dockerignore lets in,
# installs it with requirements/adapter.txt into an environment of its own, and starts the adapter there with the secrets
# of deploy/secrets.sh. Then: it is live, it refuses a request without a key, it stops within its time.
# With a Triton's URL it must become ready as well, and answer a chat completion. About a minute; leaves nothing.
#
# Usage: deploy/check.sh [grpc://HOST:PORT]
set -euo pipefail
cd "$(dirname "$0")/.."
triton=${1:-}
python=$(sh requirements/find_python.sh)
scratch=$(mktemp -d)
adapter=
trap '[ -z "$adapter" ] || kill -KILL "$adapter" 2>/dev/null || true; rm -rf "$scratch"' EXIT

mkdir "$scratch/source"
cp -r adapter build launcher model_repository tokentext pyproject.toml README.md LICENSE "$scratch/source/"
"$python" -m venv "$scratch/venv"
# Warnings about a machine's own configuration of pip are none of ours.
pip() { "$scratch/venv/bin/python" -m pip --quiet --quiet --disable-pip-version-check --no-input "$@"; }
echo "installing $(grep -c '^[a-z]' requirements/adapter.txt) packages"
pip install --require-hashes --no-deps --only-binary :all: --requirement requirements/adapter.txt
(cd "$scratch/source" && pip install --no-deps --no-build-isolation .)
pip check
for absent in pytriton xllamacpp onnxruntime torch; do
    ! "$scratch/venv/bin/python" -c "import $absent" 2>/dev/null || { echo "$absent is in the adapter's lock" >&2; exit 1; }
done

key=$(deploy/secrets.sh "$scratch/secrets" 2>/dev/null | sed -n 's/.*: //p')
echo "sqlite:///$scratch/state/store.sqlite" >"$scratch/secrets/store_url"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# From a folder that is not the checkout, so that the installed packages are what runs. Keys are asked for here as well:
# a keys file is given.
(
    cd "$scratch"
    exec env -i PATH=/usr/bin:/bin HOME="$scratch" PYTHONDONTWRITEBYTECODE=1 TRITONGATE_HOST=127.0.0.1 \
        TRITONGATE_PORT="$port" TRITONGATE_API_KEYS_FILE="$scratch/secrets/api_keys" \
        TRITONGATE_STORE_URL_FILE="$scratch/secrets/store_url" TRITONGATE_CACHE_DIR="$scratch/cache" \
        TRITONGATE_TRITON_URL="${triton:-grpc://127.0.0.1:9}" "$scratch/venv/bin/python" -m adapter
) >"$scratch/log" 2>&1 &
adapter=$!

url=http://127.0.0.1:$port
status() { curl --silent --output "$scratch/answer" --write-out '%{http_code}' --max-time 60 "$@" || true; }
expect() {
    local wanted=$1 got=000
    shift
    for _ in $(seq 60); do
        got=$(status "$@")
        [ "$got" = "$wanted" ] && { echo "$wanted ${*: -1}"; return; }
        kill -0 "$adapter" 2>/dev/null || break
        sleep 0.5
    done
    echo "${*: -1}: $got instead of $wanted: $(cat "$scratch/answer" 2>/dev/null)" >&2
    tail -n 20 "$scratch/log" >&2
    exit 1
}
expect 200 "$url/health/live"
expect 401 "$url/v1/models"
expect 401 "$url/metrics"
expect 200 --header "Authorization: Bearer $(cat "$scratch/secrets/metrics_key")" "$url/metrics"
if [ -z "$triton" ]; then
    expect 503 "$url/health/ready"
else
    expect 200 "$url/health/ready"
    expect 200 --header "Authorization: Bearer $key" "$url/v1/models"
    model=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])' <"$scratch/answer")
    expect 200 --header "Authorization: Bearer $key" --header 'Content-Type: application/json' --data \
        "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}], \"max_tokens\": 16}" \
        "$url/v1/chat/completions"
    cat "$scratch/answer"
    echo
fi
[ -z "$triton" ] || (cd "$scratch" && "$scratch/venv/bin/tritongate" models --triton "$triton")
kill -TERM "$adapter"
for _ in $(seq 30); do
    kill -0 "$adapter" 2>/dev/null || { wait "$adapter" && echo "stopped, exit code 0"; adapter=; exit; }
    sleep 0.5
done
echo "did not stop within 15 s" >&2
exit 1
