#!/usr/bin/env bash
# Builds the Python extension into a virtual environment of its own and tests it from Python.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../target}
environment=$target/python
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2' 'numpy>=1.26' 'pytest>=8'
PATH="$(cd "$environment/bin" && pwd):$PATH" VIRTUAL_ENV="$(cd "$environment" && pwd)" maturin develop --quiet
"$environment/bin/python" -m pytest -q -p no:cacheprovider tests
