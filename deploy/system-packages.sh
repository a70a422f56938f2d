#!/usr/bin/env bash
# Installs the system packages that are missing for a purpose: serve, test (adds a browser) or bench (adds other servers).
# Nothing is asked of apt where everything is there already.
set -euo pipefail
purpose=${1:?serve, test or bench}
python=${PYTHON:-python3}
missing=()

need() { # need "what it is for" PACKAGE... -- the first PACKAGE that apt knows is taken
    echo "  missing: $1"
    shift
    missing+=("$*")
}

have_python() { "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
have_headers() { "$python" -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; }
have_library() { /sbin/ldconfig -p | grep -q "$1"; }

if ! have_python; then
    need "Python 3.11 or later" python3
    need "virtual environments" python3-venv
    need "Python headers" python3-dev
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need "virtual environments" python3-venv
    have_headers || need "Python headers" python3-dev
fi
command -v cc >/dev/null || need "a C compiler" gcc
[ -e /usr/include/stdio.h ] || need "C headers" libc6-dev
[ -e /usr/include/jpeglib.h ] || need "libjpeg-turbo headers" libjpeg-dev
have_library 'libvips\.so\.42' || need "libvips" libvips42t64 libvips42
command -v npm >/dev/null || need "npm, which brings OpenSeadragon" npm
if [ "$purpose" = test ]; then
    command -v git >/dev/null || need "git" git
    command -v supervisord >/dev/null || need "supervisor, for the tests of deploy/" supervisor
    command -v nginx >/dev/null || need "nginx, for the tests of deploy/" nginx-light
    command -v chromium >/dev/null || need "Chromium for the browser tests" chromium
    have_library 'libmagic\.so\.1' || need "libmagic for an IIIF validator" libmagic1t64 libmagic1
    [ -d /usr/share/fonts/truetype/dejavu ] || need "a font for the browser" fonts-dejavu-core
fi
if [ "$purpose" = bench ]; then
    command -v nginx >/dev/null || need "nginx" nginx-light
    command -v wrk >/dev/null || need "wrk" wrk
    [ -e /usr/lib/iipimage-server/iipsrv.fcgi ] || need "iipsrv" iipimage-server
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "This machine has no apt: please install the above by hand and run make again." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Installing them takes root or sudo; neither is here." >&2; exit 1; }
    as_root=(sudo)
fi
echo "Installing them with apt ..."
"${as_root[@]}" apt-get update -qq
chosen=()
for names in "${missing[@]}"; do
    for name in $names; do
        if apt-cache show "$name" >/dev/null 2>&1; then
            chosen+=("$name")
            break
        fi
    done
done
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${chosen[@]}"
have_python || { echo "The system's Python is older than 3.11; set PYTHON=/path/to/python3.11 and run make again." >&2; exit 1; }
