#!/usr/bin/env bash
# Checks that published architectures answer here as their own Python packages do: small models of random weights are
# exported to ONNX, the packages are asked, and both are compared, in about two minutes of one core.
#
#   models/parity.sh                  installs the packages in target/parity: PyTorch, 6 GB, the first time
#   PYTHON=bin/python models/parity.sh    takes those of that Python
#   FIXTURES=folder models/parity.sh      takes what was made before, and no Python
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/parity
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

packages() {
  [ -x "$folder/python/bin/python" ] || python3 -m venv "$folder/python"
  PYTHON=$folder/python/bin/python
  local pip=("$PYTHON" -m pip --disable-pip-version-check install --quiet)
  "${pip[@]}" uv==0.13.9
  local uv=("$PYTHON" -m uv pip install --quiet --python "$PYTHON")
  "${uv[@]}" './models/export[chronos,timesfm,toto]'
  # It works with Python 3.11 too, and only says that it does not.
  "$PYTHON" -c 'import toto2' 2>/dev/null || "${pip[@]}" --no-deps --ignore-requires-python toto-2==2.0.0 dd-unit-scaling==0.1.0
}

fixtures() {
  [ -n "${PYTHON:-}" ] || packages
  FIXTURES=$folder/fixtures
  # Made new every time: what is compared is what the exporter writes now.
  rm -rf "$FIXTURES"
  OMP_NUM_THREADS=1 PYTHONPATH=models/export PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m export_openanomaly fixtures "$FIXTURES"
}

[ -n "${FIXTURES:-}" ] || fixtures
OPENANOMALY_PARITY=$(cd "$FIXTURES" && pwd)
export OPENANOMALY_PARITY
if cargo nextest --version >/dev/null 2>&1; then
  # Built as ./test builds it, so that nothing is built twice.
  cargo nextest run --run-ignored only -E 'package(models) and binary(parity)'
else
  cargo test --package models --test parity -- --ignored
fi
