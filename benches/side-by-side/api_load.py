#!/usr/bin/env python3
"""A service of its own under load: 1,000 requests at once, each a POST /execute/inference with 10 series of 200 points;
then, with --minutes, as many as it takes, and its memory over that time.

    benches/side-by-side/api_load.py [--requests 1000] [--minutes 0] [--at-once 32] [--profile release]
"""

import argparse
import asyncio
import json
import math
import pathlib
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = """\
listen: 127.0.0.1:{port}
datasources: {{default: {{path: store}}}}
auth: {{requests_per_second: 1000000, burst: 1000000}}
limits: {{timeout: 10m}}
"""


def body(series, points):
    wave = lambda row, point: round(10 + math.sin((row + point) / 7) + (40 if point == points - 3 else 0), 3)
    rows = [{"metric": "load", "labels": {"row": str(row)}, "start": 1_700_000_000, "step": "1m",
             "values": [wave(row, point) for point in range(points)]} for row in range(series)]
    return json.dumps({"context_window": "1h", "series": rows}).encode()


def start(profile, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "openanomaly.yaml").write_text(CONFIG.format(port=port))
    program = ROOT / "target" / ("debug" if profile == "dev" else profile) / "openanomaly"
    log = open(folder / "log", "w")
    process = subprocess.Popen([program, "run", "--config", folder / "openanomaly.yaml"], stderr=log, stdout=log)
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except OSError:
            time.sleep(0.2)
    raise SystemExit((folder / "log").read_text())


def resident(process):
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


async def ask(port, payload):
    """Seconds until the whole answer was there, and its status code."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = (f"POST /execute/inference HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(payload)}\r\nconnection: close\r\n\r\n")
    writer.write(head.encode() + payload)
    answer = await reader.read()
    writer.close()
    status = int(answer.split(b" ", 2)[1])
    is_whole = answer.rstrip().endswith(b"}") and (status != 200 or b'"status":"success"' in answer)
    return time.perf_counter() - begun, status if is_whole else 0


def told(times):
    times = sorted(times)
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    return f"p50 {at(0.5):.2f} s, p99 {at(0.99):.2f} s, longest {times[-1]:.2f} s"


async def burst(port, payload, requests):
    begun = time.perf_counter()
    answers = await asyncio.gather(*(ask(port, payload) for _ in range(requests)), return_exceptions=True)
    good = [answer[0] for answer in answers if not isinstance(answer, Exception) and answer[1] == 200]
    bad = [answer for answer in answers if isinstance(answer, Exception) or answer[1] != 200]
    took = time.perf_counter() - begun
    print(f"{requests} at once: {len(bad)} errors, {told(good)}, {len(good) / took:.0f} a second", flush=True)
    return bad


async def sustain(process, port, payload, minutes, at_once):
    end, times, bad = time.monotonic() + 60 * minutes, [], []

    async def worker():
        while time.monotonic() < end:
            seconds, status = await ask(port, payload)
            times.append(seconds)
            if status != 200:
                bad.append(status)

    async def watch():
        begun = time.monotonic()
        while time.monotonic() < end:
            print(f"{time.monotonic() - begun:5.0f} s: {resident(process):.0f} MiB, {len(times)} answers", flush=True)
            await asyncio.sleep(min(30, 60 * minutes / 4))

    await asyncio.gather(watch(), *(worker() for _ in range(at_once)))
    print(f"{minutes} minutes, {at_once} at a time: {len(times)} answers, {len(bad)} errors, {told(times)}, "
          f"{resident(process):.0f} MiB")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--profile", default="release")
    args = parser.parse_args()
    payload = body(10, 200)
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(args.profile, pathlib.Path(folder))
        try:
            print(f"before: {resident(process):.0f} MiB; a body has {len(payload) / 1024:.0f} KiB", flush=True)
            bad = asyncio.run(burst(port, payload, args.requests))
            print(f"after: {resident(process):.0f} MiB", flush=True)
            if args.minutes:
                bad += asyncio.run(sustain(process, port, payload, args.minutes, args.at_once))
        finally:
            process.terminate()
            process.wait()
    if bad:
        raise SystemExit(f"not all were answered: {bad[:3]}")


if __name__ == "__main__":
    main()
