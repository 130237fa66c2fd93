#!/bin/sh
# Do real drivers and compilers accept every shader? Runs scripts/drivers/farm.py, if
# there is a Python that can; its first lines say what it does.
set -eu
if ! python3 -c 'import tomllib' 2>/dev/null; then
    echo "Drivers without hardware were not tested: Python 3.11 or newer is needed." >&2
    case " $* " in *" --short "*) exit 0 ;; esac
    exit 1
fi
exec python3 "$(dirname "$0")/drivers/farm.py" "$@"
