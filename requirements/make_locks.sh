#!/usr/bin/env bash
# Writes requirements/serve.txt, requirements/test.txt and requirements/adapter.txt (the adapter alone, with neither Triton
# nor the CPU engines: for its container) from pyproject.toml: every version and every sha256, for Python 3.10 to 3.12 on
# Linux (x86_64, aarch64) and macOS (arm64). The files name no package index, and local wheel folders are shut out, so
# that what is locked is what the public index holds.
#
# Usage: requirements/make_locks.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS UV_EXTRA_INDEX_URL UV_INDEX UV_CONFIG_FILE

"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

compile() {
    # HOME: no user configuration of uv; the project's own [tool.uv] still counts.
    HOME=$scratch XDG_CONFIG_HOME=$scratch XDG_CACHE_HOME=$scratch/cache \
        "$scratch/venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --only-binary :all: \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --system-certs "$@"
}
compile --extra cpu --extra postgres --extra test pyproject.toml requirements/build.in --output-file "$scratch/test.txt"
compile --extra cpu --constraint "$scratch/test.txt" pyproject.toml requirements/build.in \
    --output-file "$scratch/serve.txt"
compile --extra postgres --constraint "$scratch/test.txt" pyproject.toml requirements/build.in \
    --output-file "$scratch/adapter.txt"

# The part of a marker that says "any platform the lock covers" says nothing to its reader.
cpython="platform_python_implementation == 'CPython'"
covered="((platform_machine == 'arm64' and $cpython and sys_platform == 'darwin')"
covered+=" or (platform_machine == 'aarch64' and $cpython and sys_platform == 'linux')"
covered+=" or (platform_machine == 'x86_64' and $cpython and sys_platform == 'linux'))"
sed -i.bak -e "s/ ; python_full_version < '3.13' and $covered / /" -e "s/ and $covered//" "$scratch"/*.txt

if grep -nE '://|--find-links|--index| @ ' "$scratch"/*.txt; then
    echo "a lock names a host, an index or a path: not written" >&2
    exit 1
fi
mv "$scratch/serve.txt" "$scratch/test.txt" "$scratch/adapter.txt" requirements/
chmod 644 requirements/*.txt
for lock in serve adapter test; do
    echo "locked: $(grep -c '^[a-z]' "requirements/$lock.txt") packages in requirements/$lock.txt"
done
