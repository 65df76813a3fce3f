#!/usr/bin/env python3
"""How long a backtest of many series takes, and how much of it is reading, judging and writing: 1,000 series of four weeks
at five minutes, made by `generate`, replayed by the model and by the cheapest one there is. What the cheapest takes is at
most what everything around the model costs.

    cargo build --release -p server -p data
    benches/side-by-side/backtest.py [--series 1000] [--points 8064] [--files 10] [--model ID] [--profile release]
"""

import argparse
import pathlib
import resource
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def generate(target, folder, series, points, files):
    """The series as so many files of long tables."""
    each = -(-series // files)
    for number in range(files):
        made = folder / str(number)
        command = [target / "generate", made, "--seed", number + 1, "--series", min(each, series - number * each), "--points", points]
        subprocess.run([str(part) for part in command], check=True)
        (made / "metrics.csv").rename(folder / f"part-{number:03}.csv")


def timed(command):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--points", type=int, default=8064)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--model", help="the model [default: the program's own]")
    parser.add_argument("--profile", default="release")
    arguments = parser.parse_args()
    target = ROOT / "target" / ("debug" if arguments.profile == "dev" else arguments.profile)
    model = ["--model", arguments.model] if arguments.model else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        generate(target, folder, arguments.series, arguments.points, arguments.files)
        for name, extra in [
            (arguments.model or "the default", model),
            (f"{arguments.model or 'the default'}, scores written", [*model, "--scores", folder / "scores"]),
            ("seasonal_naive, scores written", ["--model", "seasonal_naive", "--scores", folder / "scores"]),
        ]:
            wall, cpu, mebibytes = timed([target / "openanomaly", "backtest", folder, *extra])
            rate = arguments.series * arguments.points / wall
            print(f"{name:40} {wall:7.1f} s, {cpu:7.1f} s CPU, {rate:12,.0f} points/s, at most {mebibytes:,.0f} MiB so far")


if __name__ == "__main__":
    main()
