#!/usr/bin/env bash
# Makes the page that the program has in it, server/src/page/dist, from the sources here.
#
#   web/build.sh           makes it
#   web/build.sh --check   fails where what is there is not what would be made
set -euo pipefail
cd "$(dirname "$0")"
. ../.ci/needs.sh

need node nodejs
need npm
# The scripts of packages have no business here: the builder's binary is a package of its own.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts --no-audit --no-fund >/dev/null
node_modules/.bin/tsc

out=../server/src/page/dist
[ "${1:-}" = --check ] && out=$(mktemp -d)
mkdir -p "$out"
# The chart library's licence asks to be kept with every copy.
licence="/*! uPlot. $(tr '\n' ' ' <node_modules/uplot/LICENSE)*/"
node_modules/.bin/esbuild src/main.ts --banner:js="$licence" --bundle --minify --format=esm --target=es2022 --charset=utf8 \
  --legal-comments=none --log-level=warning --outfile="$out/app.js"
cp src/index.html "$out/index.html"

if [ "${1:-}" = --check ]; then
  diff -rq "$out" ../server/src/page/dist || { echo 'The page is not what its sources say: run web/build.sh.' >&2; exit 1; }
  rm -r "$out"
fi
