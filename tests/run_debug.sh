#!/bin/sh
# Runs tests on a build of the extension modules with bounds checks, AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tests/run_debug.sh                   what drives the compiled parts, and the server on them: some minutes
#   tests/run_debug.sh whole             all tests but those of the browser and of the source text
#   tests/run_debug.sh tests/X.py -k Y   any others, arguments as for pytest
#
# Builds in a temporary copy of the tree: the modules of the checkout are not touched. Any report fails the run.
# PYTHON: the interpreter, .venv/bin/python unless said otherwise.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
trap 'exit 1' INT TERM

mkdir "$base/main"
# Tests find the slides beside the project where the checkout has them.
if [ -d "$root/../shared" ]; then ln -s "$(cd "$root/../shared" && pwd)" "$base/shared"; fi
(cd "$root" && tar cf - --exclude='*.so' --exclude='__pycache__' --exclude='ext/*/_*.c' \
    ptiffserve ext tests setup.py pyproject.toml README.md) | tar xf - -C "$base/main"
cd "$base/main"

echo "building with sanitizers"
PTIFFSERVE_DEBUG=1 "$python" setup.py -q build_ext --inplace > "$base/build" 2>&1 || { cat "$base/build"; exit 1; }

if [ $# -eq 0 ]; then
    set -- tests/test_hostile_tiff.py tests/test_hostile_jpeg.py tests/test_hostile_bulk.py tests/test_live_files.py \
        tests/test_jpeg_*.py tests/test_oracle.py tests/test_service.py tests/test_raster.py tests/test_render.py \
        -k "not under_load and not let_go and not larger_slide and not by_many and not reductions and not vast and not every_coefficient"
elif [ "$1" = whole ]; then
    shift
    set -- tests --ignore tests/e2e --ignore tests/test_source.py "$@"
fi

# Leaks are looked for elsewhere: the interpreter itself never frees everything. libstdc++ comes along because the sanitizer
# must find the exceptions of the libraries that libvips brings.
export PYTHONPATH=. PYTHONMALLOC=malloc PYTHONFAULTHANDLER=1
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:log_path=$base/report"
export UBSAN_OPTIONS="print_stacktrace=1:abort_on_error=1:log_path=$base/report"
status=0
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)" \
    "$python" -m pytest -q -n auto --dist loadfile -p no:benchmark "$@" || status=$?

for report in "$base"/report*; do
    [ -e "$report" ] || continue
    echo "==== $(basename "$report")"
    cat "$report"
    status=1
done
[ $status -eq 0 ] && echo "no report from the sanitizers"
exit $status
