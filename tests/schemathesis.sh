#!/usr/bin/env bash
# Asks a service of its own all that its description allows and much that it doesn't: no answer may be a failure of the
# service, or one that the description doesn't have. Examples a route: the first argument (25).
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5 examples=${1:-25}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/openanomaly/schemathesis-$version
[ -x "$cache/bin/schemathesis" ] || { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet "schemathesis==$version"; }

program=target/${PROFILE:-debug}/openanomaly
[ -x "$program" ] || cargo build --bin openanomaly
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$folder/pipelines"
echo '{name: filed, query: up}' >"$folder/pipelines/filed.yaml"
cat >"$folder/openanomaly.yaml" <<END
listen: 127.0.0.1:$port
datasources: {default: {path: store}}
auth: {requests_per_second: 100000, burst: 100000}
END
"$program" run --config "$folder/openanomaly.yaml" 2>"$folder/log" &
service=$!
trap 'kill $service 2>/dev/null; wait $service || true; rm -rf "$folder"' EXIT

url=http://127.0.0.1:$port
for _ in $(seq 100); do curl -sf "$url/health/live" >/dev/null && break || sleep 0.2; done

# Only documents that are right are taken, which no schema can tell in full: that valid data is accepted is not checked.
# What is wrong with a document is what validation is asked about.
cat >"$folder/schemathesis.toml" <<END
[checks]
positive_data_acceptance.enabled = false
[[operations]]
include-path = "/api/v1/validate"
[operations.checks]
negative_data_rejection.enabled = false
END
# Streams have no end, and of a protobuf message no example can be made.
cd "$folder"
"$cache/bin/schemathesis" run "$url/api/openapi.json" --max-examples "$examples" --seed 1 \
  --no-shrink --continue-on-failure --warnings off --request-timeout 60 \
  --exclude-path-regex '/(events|stream|logout)$' --exclude-path /api/v1/write ||
  { status=$?; tail -n 20 "$folder/log" >&2; exit $status; }
