"""How well conversion does: onnx's own node tests, real files, published architectures.

    python benchmarks/conversion --zoo FOLDER
    python benchmarks/conversion --only nodes,architectures
    python benchmarks/conversion --only zoo --unseen EMPTY_FOLDER

Prints a table for each part, writes benchmarks/results/conversion_*.csv, and from those files
docs/conversion.md. FOLDER is described in zoo.py; without it the zoo is left out. The files
of unseen.py are fetched into its folder.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import architectures
import node_tests
import tables
import torch
import unseen
import zoo

PARTS = ("nodes", "zoo", "architectures")


def main() -> None:
    """Run what is asked for; exit with 1 where anything is wrong without a refusal."""
    options = _parse()
    warnings.simplefilter("ignore")
    # Exporters log that optional tools are missing; nothing here needs them.
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    chosen = options.only.split(",")
    right = True
    if "nodes" in chosen:
        right &= _nodes()
    if "zoo" in chosen and options.zoo is not None:
        right &= _zoo(options.zoo, options.limit, tables.ZOO)
    if "zoo" in chosen and options.unseen is not None:
        unseen.fetch(options.unseen)
        right &= _zoo(options.unseen, options.limit, tables.UNSEEN)
    if "architectures" in chosen:
        right &= _architectures(options.repeats)
    tables.PAGE.write_text(tables.page(), "utf-8")
    sys.exit(not right)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, default=None, help="folder of ONNX files with a manifest.json")
    parser.add_argument("--unseen", type=Path, default=None, help="folder for the files of unseen.py")
    parser.add_argument("--only", default=",".join(PARTS), help="out of nodes, zoo, architectures")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a file of the zoo may take")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each architecture")
    return parser.parse_args()


def _nodes() -> bool:
    rows = node_tests.count()
    tables.write_csv(tables.NODES, [row | tables.machine() for row in rows])
    print(tables.as_text(tables.node_table(tables.read_csv(tables.NODES))))
    return not any(row["wrong"] or row["raises"] for row in rows)


def _zoo(folder: Path, limit: float, results: Path) -> bool:
    outcomes = zoo.run(folder, "", limit)
    zoo.write(outcomes, results)
    print(tables.as_text(tables.zoo_table(tables.read_csv(results))))
    return not any(outcome.outcome in ("wrong", "crash") for outcome in outcomes)


def _architectures(repeats: int) -> bool:
    rows = []
    for row in architectures.measure(repeats):
        print(row.network, row.exporter, "right" if row.right else f"not right: {row.refusal}", flush=True)
        rows.append(asdict(row) | {"n": repeats} | tables.machine())
    tables.write_csv(tables.ARCHITECTURES, rows)
    print(tables.as_text(tables.architecture_table(tables.read_csv(tables.ARCHITECTURES))))
    return all(row["right"] for row in rows)


if __name__ == "__main__":
    main()
