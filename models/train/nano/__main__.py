"""The command line: `python -m nano train|evaluate|export`."""

import argparse
import time
from pathlib import Path

import torch


def train(args: argparse.Namespace) -> None:
    from . import data
    from .train import Budget, Settings, Trainer

    now = time.time()
    settings = Settings(
        out=args.out, seed=args.seed, series=args.series, rate=args.rate, muon=not args.adamw, device=args.device
    )
    deadline = args.deadline if args.deadline is not None else now + 60 * args.minutes
    series = data.pool(args.pool, args.seed + 11, args.series, args.threads)
    validation = data.pool(args.pool, args.seed + 12, 1000, args.threads)
    trainer = Trainer(settings, Budget(time.time(), deadline, args.steps), series, validation)
    if args.resume and args.out.exists():
        trainer.resume()
    trainer.run()
    print("held-out loss", *(f"{v:.4f}" for v in trainer.validate()))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="nano")
    commands = top.add_subparsers(required=True)
    one = commands.add_parser("train", help="train on synthetic series")
    one.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    one.add_argument("--pool", type=Path, required=True, help="a folder to cache the synthetic series in")
    one.add_argument("--series", type=int, default=40000)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    one.add_argument("--adamw", action="store_true", help="AdamW for all parameters")
    one.add_argument("--minutes", type=float, default=60.0)
    one.add_argument("--deadline", type=float, help="when to end, in Unix seconds; instead of --minutes")
    one.add_argument("--steps", type=int, help="how many steps; instead of a time")
    one.add_argument("--resume", action="store_true", help="continue from --out where it exists")
    one.set_defaults(run=train)
    for command in (one,):
        command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        command.add_argument("--threads", type=int, default=2)
    return top


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
