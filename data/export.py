"""Evaluates `name query` lines over a range and writes `timestamp,series,value` rows, gzipped.

    export.py URL QUERIES START END STEP OUTPUT.csv.gz
"""

import gzip
import json
import sys
import urllib.parse
import urllib.request


def queries(path):
    for line in open(path):
        if line.strip() and not line.startswith("#"):
            yield line.strip().split(maxsplit=1)


def answer(url, query, start, end, step):
    parameters = {"query": query, "start": start, "end": end, "step": step, "nocache": 1}
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}") as reply:
        return json.load(reply)["data"]["result"]


def series(name, labels):
    labels = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels) if key != "__name__")
    return f"{name}{{{labels}}}"


def rows(url, path, start, end, step):
    for name, query in queries(path):
        for found in answer(url, query, start, end, step):
            label = series(name, found["metric"]).replace('"', '""')
            for timestamp, value in found["values"]:
                # Six digits are more than a scrape's own precision and a third of the bytes.
                yield f'{int(timestamp)},"{label}",{float(value):.6g}\n'


def main(url, path, start, end, step, output):
    start, end, step = int(start), int(end), int(step)
    # Without a name and a time in its head, the same rows make the same file.
    with open(output, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(b"timestamp,series,value\n")
        for row in rows(url, path, start // step * step, end // step * step, step):
            packed.write(row.encode())


main(*sys.argv[1:])
