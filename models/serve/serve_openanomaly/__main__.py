"""`python -m serve_openanomaly --model seasonal-naive --port 8500`"""

import argparse

import uvicorn

from .app import make_app
from .frames import WRITERS
from .models import load


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_openanomaly", description=__doc__)
    parser.add_argument(
        "--model",
        default="seasonal-naive",
        help="seasonal-naive, chronos:ID or timesfm:ID, where ID is a model on the Hugging Face hub or a local folder",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", type=int, default=8500, help="the port to listen at; 0 takes a free one")
    parser.add_argument("--writer", choices=sorted(WRITERS), default="pandas", help="what writes Arrow answers")
    return parser.parse_args()


def main() -> None:
    found = arguments()
    model = load(found.model)
    uvicorn.run(make_app(model, WRITERS[found.writer]), host=found.host, port=found.port, log_level="info")


if __name__ == "__main__":
    main()
