#!/usr/bin/env python3
"""Passes of a pipeline over 10,000 series of a VictoriaMetrics: a week of context is read and forecast once, then
each pass reads the newest point, judges it and writes five series for each; at last all are forecast again.

    benches/side-by-side/warm_pass.py [SERIES] [MODEL]
"""

import sys

from server import WEEK, build, fill, median, run, start_of_week, victoria_metrics

PASSES = 12


def main(series=10_000, model="mstl"):
    series = int(series)
    programs, start = build(), start_of_week(PASSES)
    with victoria_metrics() as server:
        fill(programs, server, series, WEEK + PASSES, start)
        first, *passes, again = run(programs / "warm_pass", server, start, PASSES, model)
    assert all(report["written"] == 5 * series for report in passes), passes
    cpu = [report["cpu_seconds"] for report in passes]
    wall = [report["wall_seconds"] for report in passes]
    print(f"first read and forecast: {first['cpu_seconds']:.2f} s of CPU time, {first['wall_seconds']:.2f} s")
    print(f"warm pass: {median(cpu):.3f} s of CPU time ({min(cpu):.3f} to {max(cpu):.3f}), {median(wall):.3f} s")
    print(f"forecast with {model}: {again['cpu_seconds']:.2f} s of CPU time, "
          f"{series / again['cpu_seconds']:,.0f} series a second and core")
    print(f"peak memory: {again['peak_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
