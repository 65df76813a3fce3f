#!/usr/bin/env bash
# Checks that published architectures answer here what their own Python packages answer: small models of random weights
# are exported to ONNX, the packages are asked, and the answers are compared. It needs PyTorch, about 2 GB to fetch.
#
#   models/parity.sh                the packages are installed in target/parity
#   PYTHON=PATH models/parity.sh    with the packages of that Python
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/parity
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export OMP_NUM_THREADS=1
