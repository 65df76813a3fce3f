"""What the comparisons share: our programs, built, and a VictoriaMetrics of their own."""

import contextlib
import json
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEP = 300
WEEK = 2016


def build():
    """The folder of our programs, built for speed."""
    command = ["cargo", "build", "--release", "--package", "benches", "--bins", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = map(json.loads, output.splitlines())
    programs = [pathlib.Path(m["executable"]) for m in messages if m.get("executable")]
    return programs[0].parent


def start_of_week(points_after=0):
    """When a week begins that ends on a full hour, with room for `points_after` points before now."""
    end = (int(time.time()) - (points_after + 2) * STEP) // 3600 * 3600
    return end - (WEEK - 1) * STEP


@contextlib.contextmanager
def victoria_metrics():
    """The URL of a new and empty VictoriaMetrics on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        flags = ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.maxQueryDuration=10m"]
        command = ["victoria-metrics", f"-storageDataPath={folder}/data", f"-httpListenAddr={address}", *flags]
        with open(f"{folder}/log", "w", encoding="utf-8") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(f"http://{address}/health", server)
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait()


def wait_for(url, server):
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url).read()
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def fill(programs, url, series, points, start):
    """Writes the series by remote write, and makes them visible."""
    report = run(programs / "fill", url, series, points, start)[0]
    urllib.request.urlopen(f"{url}/internal/force_flush").read()
    print(f"filled: {report['samples']:,} samples in {report['wall_seconds']} s, {report['cpu_seconds']} s of CPU time")


def run(*command):
    """The lines of JSON that a program prints."""
    output = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def median(values):
    return statistics.median(values)
