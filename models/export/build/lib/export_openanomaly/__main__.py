"""The command line.

python -m export_openanomaly export amazon/chronos-bolt-tiny --output bolt-tiny
python -m export_openanomaly fixtures FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .errors import ExportError
from .families import FAMILIES
from .precision import PRECISIONS


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Answers the exit status."""
    options = _parser().parse_args(arguments)
    _quieten()
    try:
        options.run(options)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export_openanomaly", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    export = commands.add_parser("export", help="a checkpoint to model.onnx and manifest.json, kept only if it answers as upstream does")
    export.add_argument("source", help="a hub id or a folder with *.safetensors")
    export.add_argument("--output", type=Path, required=True, help="the folder to write to")
    export.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the weights; int8 also computes in int8")
    export.add_argument("--family", choices=["auto", *FAMILIES], default="auto", help="what the checkpoint is; seen from its files by default")
    export.add_argument("--license", help="of the weights, where it is not known")
    export.add_argument("--revision", help="commit, tag or branch on the hub")
    export.add_argument("--tolerance", type=float, help="the largest distance from upstream that is kept, in deviations of the context")
    export.set_defaults(run=_export)

    fixtures = commands.add_parser("fixtures", help="small models of random weights with what upstream answers, to test a port on")
    fixtures.add_argument("folder", type=Path)
    fixtures.add_argument("--family", choices=list(FAMILIES), action="append", help="only this one; can be given again")
    fixtures.add_argument("--precision", choices=PRECISIONS, default="fp32")
    fixtures.set_defaults(run=_fixtures)
    return parser


def _export(options: argparse.Namespace) -> None:
    from .export import export

    manifest = export(options.source, options.output, options.precision, options.family, options.license, options.revision, options.tolerance)
    proof = manifest["parity"]
    print(
        f"{options.output / manifest['file']}: {manifest['family']} {manifest['precision']}, {manifest['bytes'] / 1e6:.1f} MB, "
        f"license {manifest['license']}; at most {proof['max_error']:.2g} from upstream in {proof['cases']} cases"
    )


def _fixtures(options: argparse.Namespace) -> None:
    from .fixtures import make

    for name in options.family or FAMILIES:
        made = make(options.folder / name, name, options.precision)
        print(f"{options.folder / name}: {made['cases']} cases, at most {made['max_error']:.2g} from upstream")


def _quieten() -> None:
    """One thread, so that answers don't depend on the machine's cores, and no progress bars of libraries."""
    import logging
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger().setLevel(logging.ERROR)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
