#!/usr/bin/env bash
# Brings .venv up to date with a lock; does nothing, in a few milliseconds, if it already is.
#
# Usage: requirements/setup.sh serve|test
#
# `test` is `serve` plus the tools that test and check. A set-up that was broken off is taken up again: what pip has
# downloaded stays in its cache, and the stamp is written last. PYTHON=... chooses the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1
stamps=.venv/stamps

# The folder counts too: an environment that was moved has wrong paths inside.
state() { { pwd; cat pyproject.toml "requirements/$1.txt"; } | cksum | cut -d' ' -f1; }
fresh() { [ "$(cat "$stamps/$1" 2>/dev/null)" = "$(state "$1")" ] && [ -x .venv/bin/python ]; }
if fresh test || { [ "$wanted" = serve ] && fresh serve; }; then exit 0; fi

mkdir -p .run
if command -v flock >/dev/null; then
    exec 9>.run/setup.lock
    flock 9 # another `make` may be at it
    if fresh test || { [ "$wanted" = serve ] && fresh serve; }; then exit 0; fi
fi

started=$SECONDS
# An environment that no longer starts, has no pip yet, or stands elsewhere than it was made, is made anew.
if [ "$(.venv/bin/python -c 'import pip._internal.cli.main, sys; print(sys.prefix)' 2>/dev/null)" != "$(pwd -P)/.venv" ]; then
    python=$(sh requirements/find_python.sh)
    echo "set-up: $("$python" --version) in .venv"
    "$python" -m venv --clear .venv
fi
mkdir -p "$stamps"
rm -f "$stamps"/serve "$stamps"/test
# What was being installed when an earlier set-up was broken off has its metadata, and so counts as installed to pip.
# INSTALLER is written after everything else.
for metadata in .venv/lib/python3*/site-packages/*.dist-info; do
    [ ! -d "$metadata" ] || [ -e "$metadata/INSTALLER" ] || rm -rf "$metadata"
done
count=$(grep -c '^[a-z]' "requirements/$wanted.txt")
echo "set-up: installing about $count locked packages (a minute or two the first time)"
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet --require-hashes --only-binary :all: --no-deps --requirement "requirements/$wanted.txt"
pip install --quiet --no-deps --no-build-isolation --editable .
state "$wanted" >"$stamps/$wanted"
echo "set-up: done in $((SECONDS - started)) s, $(du -sm .venv | cut -f1) MB"
