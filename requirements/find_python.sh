#!/bin/sh
# Prints the path of the first Python that Tritongate can be set up with: $PYTHON, else python3.12 ... python3.
# Exits 1 with the reasons and the commands that mend them if none fits.
here=$(dirname "$0")
reasons=""
for candidate in ${PYTHON:-python3.12 python3.11 python3.10 python3}; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    if found=$("$path" "$here/../launcher/libpython.py" 2>&1); then
        printf '%s\n' "$found"
        exit 0
    fi
    # A version manager's shim for a version that is not selected says several lines of its own.
    reasons="$reasons
$(printf '%s\n' "$found" | grep '^  /' || printf '  %s: does not start' "$path")"
done
{
    echo "No suitable Python: 3.10, 3.11 or 3.12 with venv and its shared library is needed.$reasons"
    echo "On Debian or Ubuntu: sudo apt-get install python3-venv libpython3-dev"
    echo "Another interpreter: make setup PYTHON=/path/to/python3.12"
} >&2
exit 1
