#!/usr/bin/env bash
# Installs what is missing of what a build needs and of what is named: as root without questions; otherwise it prints the line to run and exits with 2.
#   Scripts/install-packages.sh [--log FILE] [NEED=PACKAGE...]
# NEED is a command, or a file with its whole path. FILE gets all that apt-get says; without it, its errors only are shown.
# Needs bash and coreutils.
set -euo pipefail

log=""
if [ "${1:-}" = --log ]; then
    log=${2:?--log needs a file}
    shift 2
fi

build=(/usr/include/lz4frame.h=liblz4-dev /usr/include/jemalloc/jemalloc.h=libjemalloc-dev)
packages=()
for pair in "${build[@]}" "$@"; do
    need=${pair%%=*}
    case $need in
    /*) [ -e "$need" ] || packages+=("${pair#*=}") ;;
    *) command -v "$need" >/dev/null || packages+=("${pair#*=}") ;;
    esac
done
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "sudo apt-get install -y ${packages[*]}"
    exit 2
fi
echo "installing ${packages[*]}"
if [ -n "$log" ]; then
    mkdir -p "$(dirname "$log")"
    exec >"$log" 2>&1
else
    exec >/dev/null
fi
apt-get update -q || exit 1
DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${packages[@]}" || exit 1
