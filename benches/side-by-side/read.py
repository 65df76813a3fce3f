#!/usr/bin/env python3
"""Reads 10,000 series × 2,016 points of a VictoriaMetrics into a frame, in turn with a `curl` of the same URL that
throws the answer away, and prints how many times as long it took.

    benches/side-by-side/read.py [SERIES] [ROUNDS]
"""

import subprocess
import sys
import time
import urllib.parse

from server import STEP, WEEK, build, fill, median, run, start_of_week, victoria_metrics

QUERY = "http_requests"


def curl(url):
    """Seconds from start to end, of which the server's are most."""
    begun = time.monotonic()
    subprocess.run(["curl", "-sSf", "-o", "/dev/null", url], check=True)
    return time.monotonic() - begun


def main(series=10_000, rounds=7):
    programs, start = build(), start_of_week()
    with victoria_metrics() as server:
        fill(programs, server, series, WEEK, start)
        times = {"query": QUERY, "start": start, "end": start + (WEEK - 1) * STEP, "step": STEP, "nocache": 1}
        url = f"{server}/api/v1/query_range?{urllib.parse.urlencode(times)}"
        curl(url)
        theirs, ours, ratios, last = [], [], [], None
        for turn in range(rounds):
            if turn % 2:
                theirs.append(curl(url))
            begun = time.monotonic()
            last = run(programs / "whole_read", server, QUERY, start, WEEK)[0]
            ours.append(time.monotonic() - begun)
            if not turn % 2:
                theirs.append(curl(url))
            ratios.append(ours[-1] / theirs[-1])
            print(f"curl {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s of which {last['cpu_seconds']} s CPU time")
        assert last["samples"] == series * WEEK, last
    frame, peak = last["frame_bytes"], last["peak_bytes"]
    print(f"read of {last['samples']:,} samples, {last['bytes'] / 1e6:.0f} MB: curl {median(theirs):.2f} s, "
          f"ours {median(ours):.2f} s, ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"memory: frame {frame / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB, {peak / frame:.2f} times the frame")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
