"""polygraft against its peers, `adapters` and `peft`: the same work, in turn, on this machine.

    make bench-peers
    python benchmarks/peers/run.py [--only WORK ...] [--sides SIDE ...] [--rounds 5] [--steps N] [--quick]

Every measurement is a process of its own, so that each has its own peak memory; each round runs every side once, the
first of them another one each time, so that a machine whose speed drifts treats all alike; and each has a seed of its
own, so that losses and F1 are compared over as many seeds. Both environments read the
same bases, batches and first values of grafts from build/peers. The table goes to stdout, all numbers to a JSON file.
Memory is read as Linux tells it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from table import format_work
from works import OURS, PEERS, RUN_BY_PEERS, SIDES, WORKS, Work, shrink

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
VERSIONS = (
    "import importlib.metadata as m, json; "
    "names = ('polygraft', 'torch', 'transformers', 'adapters', 'peft', 'numpy'); "
    "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}; "
    "print(json.dumps({n: found[n] for n in names if n in found}))"
)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [work.name for work in WORKS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="WORK", help=", ".join(names)
    )
    parser.add_argument("--sides", nargs="+", choices=[*SIDES], default=[*SIDES], metavar="SIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, help="steps of the masked-LM works, for a loss after more of them"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few steps and one round: shows that it runs")
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "peers", help="what is written to")
    return parser.parse_args()


def call(python: Path, script: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a script in a process of its own, and read its last line."""
    threads = str(job["threads"])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [str(python), str(HERE / script), json.dumps(job)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stderr[-4000:]}\n{script} failed for {job['work']['name']}, {job['side']}.")
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}


def score_labels(result: dict[str, Any], folder: Path) -> None:
    """Turn predicted labels into an F1 score, the same way for every side."""
    import numpy as np

    from polygraft.evaluate.spans import score_spans

    predicted = result.pop("predicted", None)
    if not predicted:
        return
    names = json.loads((folder / "facts.json").read_text(encoding="utf-8"))["labels"]
    with np.load(folder / "held_out.npz") as file:
        rows = np.split(file["labels"], file["starts"][1:-1])
        gold = [[names[label] for label in rows[row] if label >= 0] for row in file["order"]]
    result["f1"] = score_spans(gold, [[names[label] for label in row] for row in predicted]).f1


def measure(work: Work, options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run every side of a work in turn, round for round."""
    sides = [side for side in work.sides if side in options.sides]
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        job: dict[str, Any] = {
            # Other first values, batches and hidden pieces in every round, the same ones for all sides.
            "work": asdict(replace(work, seed=work.seed + number)),
            "side": "",
            "folder": str(folder),
            "threads": options.threads,
        }
        call(Path(sys.executable), "prepare.py", job)
        turn = number % max(1, len(sides))
        for side in [*sides[turn:], *sides[:turn]]:
            script = SIDES[side][0]
            python = options.peers_python if script in RUN_BY_PEERS else Path(sys.executable)
            result = call(python, script, {**job, "side": side})
            if script in (OURS, PEERS):
                score_labels(result, folder)
            results[side].append(result)
            rate = result.get("missing") or f"{result['rate']:,.0f} tokens/s"
            tell(f"{work.name}, round {number + 1} of {options.rounds}, {side}: {rate}")
    return results


def choose_works(options: argparse.Namespace) -> list[Work]:
    """Give the works asked for, in the size asked for."""
    works = [work for work in WORKS if work.name in options.only]
    if options.quick:
        return [shrink(work) for work in works]
    if options.steps:
        return [replace(work, steps=options.steps) if work.kind == "mlm" else work for work in works]
    return works


def tell(sentence: str) -> None:
    """Say how far it is, beside the results."""
    print(sentence, file=sys.stderr, flush=True)


def describe_machine() -> str:
    """Name the processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.processor()


def read_versions(python: Path) -> dict[str, str]:
    """Ask an environment for the releases it has."""
    done = subprocess.run([str(python), "-c", VERSIONS], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure and print."""
    options = read_arguments()
    if not options.peers_python.is_file():
        raise SystemExit(
            f"There is no {options.peers_python}. `make bench-peers` makes the peers' environment."
        )
    options.rounds = 1 if options.quick and options.rounds == 5 else options.rounds
    kind = "data" if os.environ.get("POLYGRAFT_DATA") else "sample"
    place = options.folder / kind
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": describe_machine(),
        "threads": options.threads,
        "rounds": options.rounds,
        "quick": options.quick,
        "polygraft": read_versions(Path(sys.executable)),
        "peers": read_versions(options.peers_python),
        "works": {},
    }
    out = place / f"results-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    for work in choose_works(options):
        folder = place / ("quick" if options.quick else "full") / work.name
        results = measure(work, options, folder)
        prepared = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        facts["works"][work.name] = {"work": asdict(work), "data": prepared, "results": results}
        # After every work, so that a run that is stopped leaves what it has.
        out.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        print(f"{format_work(work, results)}\n\nOn {prepared['said']}.\n", flush=True)
    print(f"{facts['machine']}, {options.threads} threads, {options.rounds} rounds, {facts['date']}")
    print(f"polygraft: {facts['polygraft']}; peers: {facts['peers']}\n{out}")


if __name__ == "__main__":
    main()
