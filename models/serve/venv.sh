#!/usr/bin/env bash
# Makes a virtual environment with what the server needs: venv.sh FOLDER
# Does nothing where that is done already.
set -euo pipefail
folder=${1:?which folder}
needs=$(cd "$(dirname "$0")" && pwd)/requirements.txt
if cmp --silent "$needs" "$folder/requirements.txt"; then
  exit 0
fi
if command -v uv > /dev/null; then
  uv venv --quiet --allow-existing "$folder"
  uv pip install --quiet --python "$folder/bin/python" --requirement "$needs"
else
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$needs"
fi
cp "$needs" "$folder/requirements.txt"
