"""Teachers of real series, and their test sets, in the form that benchmarks/fidelity/run.py reads.

    pip download --no-deps aeon && unzip aeon-*.whl 'aeon/datasets/data/*' -d archive
    python benchmarks/series_teachers.py --archive archive/aeon/datasets/data --out DIR
    python benchmarks/fidelity/run.py --teachers DIR --data DIR --plan benchmarks/fidelity/series.plan

The sets are of the UCR and UEA archives (Dau et al., 2019; Bagnall et al., 2018), which the aeon package
carries some of. A teacher learns the training part, is exported by torch and judged on the test part, which
nothing here chooses by. Nobody tells its input range, as with a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float32]
SETS = {"gunpoint": "GunPoint", "italypower": "ItalyPowerDemand", "arrowhead": "ArrowHead",
        "osuleaf": "OSULeaf", "vowels": "JapaneseVowels"}  # fmt: skip
TEACHERS = ("gunpoint_cnn", "gunpoint_mlp", "italypower_gru", "arrowhead_cnn", "osuleaf_cnn", "vowels_cnn",
            "vowels_gru")  # fmt: skip
_STEPS = {"cnn": 1500, "gru": 800, "mlp": 1500}


class Recurrent(nn.Module):
    """A GRU that reads `(B, time, channels)`, and a layer on what it has read last."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.reads = nn.GRU(channels, 64, batch_first=True)
        self.tells = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, K)`."""
        read, _ = self.reads(x)
        told: Tensor = self.tells(read[:, -1])
        return told


class Convolutional(nn.Module):
    """Three convolutions over `(B, channels, time)` and a mean, as in Wang et al. (2017), narrower."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, width, kernel in ((channels, 32, 7), (32, 64, 5), (64, 64, 3)):
            layers += [nn.Conv1d(given, width, kernel, padding=kernel // 2), nn.BatchNorm1d(width), nn.ReLU()]
        self.looks = nn.Sequential(*layers)
        self.tells = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, K)`."""
        told: Tensor = self.tells(self.looks(x).mean(2))
        return told


def dense(values: int, classes: int) -> nn.Module:
    """Two hidden layers on `(B, values)`."""
    return nn.Sequential(
        nn.Linear(values, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes)
    )


def main() -> None:
    """Train and write every teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="folder with SET/SET_TRAIN.ts")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    entries = [_write(name, options.archive, options.out) for name in TEACHERS]
    (options.out / "manifest.json").write_text(json.dumps({"teachers": entries}, indent=1))


def _write(name: str, archive: Path, out: Path) -> dict[str, Any]:
    dataset, _, kind = name.partition("_")
    (x, y), (x_test, y_test) = (_read(archive, SETS[dataset], part) for part in ("TRAIN", "TEST"))
    # They come class by class, and choices look at the first half of the test part.
    mixed = np.random.default_rng(0).permutation(len(y_test))
    x_test, y_test = x_test[mixed], y_test[mixed]
    # Standardised once, by one number: series of one set share a unit.
    unit = x.std()
    x, x_test = _shaped(kind, x / unit), _shaped(kind, x_test / unit)
    teacher = _taught(kind, x, y)
    with torch.no_grad():
        accuracy = float((teacher(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean())
    torch.onnx.export(
        teacher, (torch.from_numpy(x_test[:2]),), out / f"{name}.onnx", dynamo=True, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["series"], output_names=["logits"],
        external_data=False,
    )  # fmt: skip
    np.savez(out / f"{name}_test.npz", x=x_test, y=y_test)
    print(f"{name}: {list(x_test.shape[1:])}, accuracy {accuracy:.1%} of {len(y_test)}", flush=True)
    return {"file": f"{name}.onnx", "dataset": name, "input_scaling": {"kind": "raw"}}


def _taught(kind: str, x: FloatArray, y: npt.NDArray[np.int64]) -> nn.Module:
    torch.manual_seed(0)
    classes = int(y.max()) + 1
    build: dict[str, Callable[[], nn.Module]] = {
        "cnn": lambda: Convolutional(x.shape[1], classes),
        "gru": lambda: Recurrent(x.shape[2], classes),
        "mlp": lambda: dense(x.shape[1], classes),
    }
    teacher, steps = build[kind](), _STEPS[kind]
    optimizer = torch.optim.AdamW(teacher.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    series, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(steps):
        batch = torch.randint(len(series), (32,))
        seen = series[batch] + 0.05 * torch.randn_like(series[batch])
        loss = nn.functional.cross_entropy(teacher(seen), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return teacher.eval()


def _shaped(kind: str, x: FloatArray) -> FloatArray:
    """`(N, channels, time)` as a kind of teacher reads it."""
    if kind == "gru":
        return np.ascontiguousarray(x.transpose(0, 2, 1))
    return x.reshape(len(x), -1) if kind == "mlp" else x


def _read(archive: Path, dataset: str, part: str) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """`(N, channels, time)` and classes of a .ts file; `_eq` where lengths differ and were made equal."""
    equal = archive / dataset / f"{dataset}_eq_{part}.ts"
    path = equal if equal.exists() else archive / dataset / f"{dataset}_{part}.ts"
    lines = path.read_text(encoding="latin1").splitlines()
    begin = next(index for index, line in enumerate(lines) if line.lower().startswith("@data"))
    samples = [line.strip().split(":") for line in lines[begin + 1 :] if line.strip()]
    names = sorted({label for *_, label in samples})
    x = [[[float(value) for value in channel.split(",")] for channel in channels] for *channels, _ in samples]
    return np.array(x, np.float32), np.array([names.index(label) for *_, label in samples])


if __name__ == "__main__":
    main()
