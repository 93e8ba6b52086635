"""Rows that go different ways in one batch: polygraft against `adapters`' BatchSplit and `peft`'s adapter_names.

    python benchmarks/peers/routing.py [--rounds 5] [--plans 1 8 32 64]

Every measurement is a process of its own, the sides in turn, each as often as there are rounds; printed are medians of
tokens a second and the share of what the same library reaches with one plan for all rows. `make bench-peers` makes the
peers' environment and, once, the folder of the bundled base.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ROWS, TOKENS, REPEATS = 64, 32, 3


def run(python: Path, words: list[str], *, threads: int) -> str:
    """Run a script in a process of its own, and give its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run([str(python), *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr[-3000:]}\n{words[0]} failed.")
    return done.stdout.splitlines()[-1]


def measure(side: str, *, plans: int, base: Path, python: Path, threads: int) -> float:
    """Give the median tokens a second of one side for one number of plans."""
    if side == "polygraft":
        words = [str(HERE.parent / "routing.py"), "--json", "--rounds", str(REPEATS), "--only", str(plans)]
        found = json.loads(run(Path(sys.executable), [*words, "--threads", str(threads)], threads=threads))
        return found[f"routed {plans}"]
    job = {
        "base": str(base),
        "side": side,
        "plans": plans,
        "rows": ROWS,
        "tokens": TOKENS,
        "repeats": REPEATS,
        "threads": threads,
    }
    return statistics.median(
        json.loads(run(python, [str(HERE / "route_peers.py"), json.dumps(job)], threads=threads))
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plans", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--base", type=Path, default=ROOT / "build" / "peers" / "data" / "bases" / "bundled")
    options = parser.parse_args()
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(options.rounds):
        for plans in options.plans:
            sides = ["polygraft", "adapters", "peft"]
            for side in [*sides[number % 3 :], *sides[: number % 3]]:
                rate = measure(
                    side,
                    plans=plans,
                    base=options.base,
                    python=options.peers_python,
                    threads=options.threads,
                )
                rates.setdefault((side, plans), []).append(rate)
                print(f"round {number + 1}, {side}, {plans} plans: {rate:,.0f} tokens/s", file=sys.stderr)
    medians = {key: statistics.median(found) for key, found in rates.items()}
    print(f"{'':10}" + "".join(f"{plans:>18} plans" for plans in options.plans))
    for side in ("polygraft", "adapters", "peft"):
        cells = [
            f"{medians[side, plans]:11,.0f} tok/s {medians[side, plans] / medians[side, options.plans[0]]:5.2f}"
            for plans in options.plans
        ]
        print(f"{side:10}" + " ".join(cells))


if __name__ == "__main__":
    main()
