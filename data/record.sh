#!/usr/bin/env bash
# Records this machine's own metrics for data/recorded: node exporter, Prometheus and VictoriaMetrics watch each
# other for a while, and the queries of record.queries are then exported on a 15 s grid.
#
#   data/record.sh [MINUTES] [OUTPUT.csv.gz]
#
# Needs: victoria-metrics, prometheus, prometheus-node-exporter (Debian packages of these names), curl, python3.
set -euo pipefail

minutes=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
output=${2:-$here/recorded/machine.csv.gz}
folder=$(mktemp -d)
processes=()
# Only what was started here is ended, by its process id.
finish() { kill "${processes[@]}" 2>/dev/null || true; wait; rm -rf "$folder"; }
trap finish EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
node=$(free_port) store=$(free_port) watcher=$(free_port)

# Every target is called `localhost`, so that the recording names no machine.
cat >"$folder/scrape.yml" <<YAML
global: {scrape_interval: 5s}
scrape_configs:
  - {job_name: node, static_configs: [{targets: ["127.0.0.1:$node"], labels: {instance: localhost}}]}
  - {job_name: prometheus, static_configs: [{targets: ["127.0.0.1:$watcher"], labels: {instance: localhost}}]}
  - {job_name: victoriametrics, static_configs: [{targets: ["127.0.0.1:$store"], labels: {instance: localhost}}]}
YAML

prometheus-node-exporter --web.listen-address="127.0.0.1:$node" >"$folder/node.log" 2>&1 &
processes+=($!)
prometheus --config.file="$folder/scrape.yml" --storage.tsdb.path="$folder/prometheus" \
  --web.listen-address="127.0.0.1:$watcher" >"$folder/prometheus.log" 2>&1 &
processes+=($!)
victoria-metrics -storageDataPath="$folder/store" -httpListenAddr="127.0.0.1:$store" -retentionPeriod=100y \
  -search.latencyOffset=0s -promscrape.config="$folder/scrape.yml" >"$folder/store.log" 2>&1 &
processes+=($!)

# One minute more than is exported, so that the first rates have a whole window behind them.
from=$(($(date +%s) + 90))
sleep "$((90 + minutes * 60))"
curl -fsS "http://127.0.0.1:$store/internal/force_flush"
python3 "$here/export.py" "http://127.0.0.1:$store" "$here/record.queries" "$from" "$((from + minutes * 60))" 15 "$output"
