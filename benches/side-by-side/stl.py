#!/usr/bin/env python3
"""Decomposes series of a week with a season of a day by STL in Python's statsmodels, and in turn forecasts as many
with our `mstl`, which decomposes too; both are counted in CPU time.

    python3 -m venv .venv && .venv/bin/pip install statsmodels
    .venv/bin/python benches/side-by-side/stl.py
"""

import math
import random
import time

from statsmodels.tsa.seasonal import STL

from server import WEEK, build, median, run

DAY = 288
ROUNDS = 3
THEIRS, OURS = 40, 4000


def wave(row):
    chance = random.Random(row)
    return [100 + 10 * math.sin(2 * math.pi * point / DAY + row) + 4 * chance.random() for point in range(WEEK)]


def theirs(batch):
    """Series a second. The arguments are those of MSTL; as with ours, without robust weights, and with its jumps."""
    jumps = {"seasonal_jump": 2, "trend_jump": 51, "low_pass_jump": 29}
    begun = time.process_time()
    for values in batch:
        STL(values, period=DAY, seasonal=11, robust=False, **jumps).fit()
    return len(batch) / (time.process_time() - begun)


def main():
    programs, batch = build(), [wave(row) for row in range(THEIRS)]
    rates = []
    for _ in range(ROUNDS):
        rates.append((theirs(batch), run(programs / "forecast_rate", "mstl", OURS)[0]["series_a_second"]))
        print(f"statsmodels {rates[-1][0]:,.0f}, ours {rates[-1][1]:,.0f} series a second and core")
    print(f"ratio {median(ours / theirs for theirs, ours in rates):.1f}")


if __name__ == "__main__":
    main()
