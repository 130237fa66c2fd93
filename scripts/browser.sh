#!/bin/sh
# Ensures that there is a browser for the tests of report pages: if none is found,
# installs Chromium with the system's package manager and says so.
set -eu

found() {
    for name in chromium chromium-browser google-chrome chrome; do
        command -v "$name" >/dev/null && return 0
    done
    [ -x "/Applications/Chromium.app/Contents/MacOS/Chromium" ] && return 0
    [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ]
}

# The user may name a browser.
[ -z "${RESIDUA_BROWSER:-}" ] || exit 0
if found; then
    exit 0
fi

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "No Chromium was found: installing it for the tests of report pages."
if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
elif command -v dnf >/dev/null; then
    $as_root dnf install -y chromium
elif command -v pacman >/dev/null; then
    $as_root pacman -S --noconfirm chromium
elif command -v zypper >/dev/null; then
    $as_root zypper install -y chromium
elif command -v apk >/dev/null; then
    $as_root apk add chromium
elif command -v brew >/dev/null; then
    brew install --cask chromium
else
    echo "No known package manager: install Chromium by hand, or name a browser in RESIDUA_BROWSER." >&2
    exit 1
fi
