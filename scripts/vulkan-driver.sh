#!/bin/sh
# Ensures that there is a Vulkan driver: if none is found, installs Mesa's software
# driver with the system's package manager and says so.
set -eu

found() {
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d \
        "${XDG_DATA_HOME:-$HOME/.local/share}/vulkan/icd.d"; do
        for manifest in "$folder"/*.json; do
            [ -e "$manifest" ] && return 0
        done
    done
    return 1
}

loader() {
    ldconfig -p 2>/dev/null | grep -q libvulkan.so.1
}

# macOS and Windows have Metal and DX12. The user may name a driver.
[ "$(uname -s)" = Linux ] || exit 0
[ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || exit 0
if found && loader; then
    exit 0
fi

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "No Vulkan driver was found: installing Mesa's software driver."
if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        mesa-vulkan-drivers libvulkan1
elif command -v dnf >/dev/null; then
    $as_root dnf install -y mesa-vulkan-drivers vulkan-loader
elif command -v pacman >/dev/null; then
    $as_root pacman -S --noconfirm vulkan-swrast vulkan-icd-loader
elif command -v zypper >/dev/null; then
    $as_root zypper install -y Mesa-vulkan-device-select libvulkan_lvp libvulkan1
elif command -v apk >/dev/null; then
    $as_root apk add mesa-vulkan-swrast vulkan-loader
else
    echo "No known package manager: install a Vulkan driver by hand (Mesa's software driver is called lavapipe)." >&2
    exit 1
fi
