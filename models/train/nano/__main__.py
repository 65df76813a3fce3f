"""The command line: `python -m nano train|evaluate|export`."""

import argparse
import time
from pathlib import Path

import torch


def train(args: argparse.Namespace) -> None:
    from . import data
    from .train import Budget, Settings, Trainer

    settings = Settings(
        out=args.out,
        seed=args.seed,
        series=args.series,
        rate=args.rate,
        muon=not args.adamw,
        device=args.device,
        compiled=args.compile,
    )
    series = data.pool(args.pool, args.seed + 11, args.series, args.threads)
    validation = data.pool(args.pool, args.seed + 12, 1000, args.threads)
    now = time.time()
    deadline = args.deadline if args.deadline is not None else now + 60 * args.minutes
    trainer = Trainer(settings, Budget(now, deadline, args.steps), series, validation)
    if args.resume and args.out.exists():
        trainer.resume()
    trainer.run()
    print("held-out loss", *(f"{v:.4f}" for v in trainer.validate()))


def evaluate(args: argparse.Namespace) -> None:
    from . import evaluate as judge

    series = judge.load(args.folder, args.pattern, args.windows)
    print(f"{len(series)} series, MASE and WQL relative to seasonal naive, coverage of the 80% band")
    forecasts = {}
    for path in args.models:
        is_graph = path.suffix == ".onnx"
        forecasts[path.name] = (
            judge.from_graph(path, args.threads) if is_graph else judge.from_checkpoint(path, args.device)
        )
    for name in args.baseline:
        forecasts[name] = judge.from_statsforecast(name)
    for name, forecast in forecasts.items():
        scores, each = judge.score(series, forecast)
        print(judge.table(name, scores), flush=True)
        for one, found in each.items() if args.each else ():
            print(judge.table(f"  {one}", found))


def export(args: argparse.Namespace) -> None:
    from .export import export as write

    write(args.checkpoint, args.out)


def _train_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    one.add_argument("--pool", type=Path, required=True, help="a folder to cache the synthetic series in")
    one.add_argument("--series", type=int, default=40000, help="how many synthetic series")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    one.add_argument("--adamw", action="store_true", help="AdamW for all parameters, without Muon")
    one.add_argument("--compile", action="store_true", help="compile the loss; needs a C++ compiler")
    one.add_argument("--minutes", type=float, default=60.0, help="how long to train")
    one.add_argument("--deadline", type=float, help="when to end, in Unix seconds; instead of --minutes")
    one.add_argument("--steps", type=int, help="how many steps; instead of a time")
    one.add_argument("--resume", action="store_true", help="continue from --out where it exists")
    one.set_defaults(run=train)


def _evaluate_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("folder", type=Path, help="a folder of timestamp,value,label files, csv.gz")
    one.add_argument("models", type=Path, nargs="*", help="checkpoints, or ONNX files by the contract")
    one.add_argument("--pattern", default="*.csv.gz", help="which files of the folder")
    one.add_argument("--windows", type=int, default=5, help="windows of each series")
    one.add_argument("--baseline", nargs="*", default=[], help="models of statsforecast, as AutoTheta")
    one.add_argument("--each", action="store_true", help="print each series too")
    one.set_defaults(run=evaluate)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="nano")
    commands = top.add_subparsers(required=True)
    training = commands.add_parser("train", help="train on synthetic series")
    _train_options(training)
    evaluation = commands.add_parser("evaluate", help="print errors relative to seasonal naive")
    _evaluate_options(evaluation)
    exporting = commands.add_parser("export", help="write the ONNX file of a checkpoint")
    exporting.add_argument("checkpoint", type=Path)
    exporting.add_argument("out", type=Path)
    exporting.set_defaults(run=export)
    for command in (training, evaluation, exporting):
        command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        command.add_argument("--threads", type=int, default=2)
    return top


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
