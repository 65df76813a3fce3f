#!/usr/bin/env bash
# Uses the page as a newcomer would, in a real browser, against the real program.
#
#   web/test.sh                 pictures go to a temporary folder, which it names
#   SHOTS=folder web/test.sh    pictures go there
set -euo pipefail
cd "$(dirname "$0")"
. ../.ci/needs.sh

need node nodejs
need npm
need chromium
export CHROMIUM=${CHROMIUM:-$(command -v chromium)}
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts --no-audit --no-fund >/dev/null
need_rust
cargo build --quiet --manifest-path ../Cargo.toml --bin openanomaly
node --test --test-reporter=spec tests/
