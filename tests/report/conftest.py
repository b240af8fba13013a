"""A report that could have been, and arrays that look like what the program makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cake_onnx.report.model import (
    ClassAgreement,
    CurvePoint,
    Fidelity,
    Gate,
    InputFacts,
    Latency,
    LayerWidths,
    Machine,
    Margins,
    ModelFacts,
    OutputFacts,
    ParityFacts,
    Report,
    RunFacts,
    Seconds,
    StudentFacts,
    wilson_interval,
)
from cake_onnx.report.pictures import Pictures, Regions

MakeReport = Callable[..., Report]


def latencies(scale: float) -> tuple[Latency, ...]:
    return tuple(
        Latency(
            provider="CPUExecutionProvider",
            threads=1,
            batch=batch,
            median_ms=scale * (0.03 + 0.012 * batch),
            p10_ms=scale * (0.028 + 0.0115 * batch),
            p90_ms=scale * (0.038 + 0.0135 * batch),
            n=200,
        )
        for batch in (1, 8, 64, 256)
    )


def fidelity(
    samples: str, role: Literal["held-out", "baseline", "other"], n: int, agreed: int, classes: int
) -> Fidelity:
    low, high = wilson_interval(agreed, n)
    share = agreed / n
    wobble = np.random.default_rng(7).uniform(-0.12, 1.0 - share, classes)
    per_class = tuple(
        ClassAgreement(class_index=k, n=n // classes, agreement=float(np.clip(share + wobble[k], 0, 1)))
        for k in range(classes)
    )
    return Fidelity(
        samples=samples,
        role=role,
        n=n,
        agreement=share,
        low=low,
        high=high,
        mean_kl=0.041,
        mean_margin_teacher=3.2,
        mean_margin_student=2.9,
        per_class=per_class if role == "held-out" else (),
    )


def build_report(classes: int = 10, **changes: Any) -> Report:
    rng = np.random.default_rng(3)
    edges = np.linspace(0, 12, 41)
    curve = [
        CurvePoint(
            round=i,
            passes=15_000.0 * (i + 1),
            loss=float(1.6 * np.exp(-i / 9) + 0.06 + 0.02 * rng.random()),
            agreement=float(0.97 - 0.6 * np.exp(-i / 8)),
        )
        for i in range(40)
    ]
    facts: dict[str, Any] = {
        "cake_onnx": "0.1.0",
        "command": "cake-onnx compress digits_cnn.onnx --compression 4x --seed 0",
        "config": 'seed = 0\ncompression = "4x"\nmethod = "rounds"\nbudget = "small"\n',
        "teacher": ModelFacts(
            file="digits_cnn.onnx",
            sha256="a3" * 32,
            bytes=247_113,
            parameters=61_706,
            opset=17,
            operators={"Conv": 2, "Relu": 4, "MaxPool": 2, "Gemm": 3, "Flatten": 1},
            latency=latencies(1.0),
        ),
        "student": StudentFacts(
            file="model.onnx",
            sha256="0f" * 32,
            bytes=61_120,
            parameters=15_210,
            opset=17,
            operators={"Conv": 2, "Relu": 4, "MaxPool": 2, "Gemm": 3, "Flatten": 1},
            latency=latencies(0.42),
            family="like-teacher",
            chosen_because="the teacher's graph can be cut channel by channel",
            widths=(
                LayerWidths(layers=("conv1",), teacher=6, student=5),
                LayerWidths(layers=("conv2", "shortcut"), teacher=16, student=12),
                LayerWidths(layers=("fc1",), teacher=120, student=40),
            ),
        ),
        "input": InputFacts(
            name="image",
            shape=(1, 8, 8),
            dtype="float32",
            layout="NCHW",
            low=(0.0,),
            high=(1.0,),
            bounds_source="assumed",
            bounds_assumed=True,
        ),
        "output": OutputFacts(names=("logits",), kind="logits", classes=classes),
        "conversion": ParityFacts(max_abs_diff=2.1e-6, tolerance=1e-4, top1_agreement=1.0, n=256),
        "export": ParityFacts(max_abs_diff=1.4e-6, tolerance=1e-4, top1_agreement=1.0, n=256),
        "run": RunFacts(
            method="rounds",
            rounds=40,
            passes=600_000,
            seconds=Seconds(total=74.2, stages={"convert": 0.8, "rounds": 68.1, "judge": 4.4}),
            seed=0,
            device="cpu",
            threads=2,
            versions={"torch": "2.13.0", "onnx": "1.23.0", "onnxruntime": "1.32.0", "python": "3.11.9"},
            machine=Machine(processor="a processor of 2 GHz", cores=2),
        ),
        "curves": tuple(curve),
        "fidelity": (
            fidelity("held-out samples", "held-out", 2000, 1946, classes),
            fidelity("uniform noise", "baseline", 2000, 1790, classes),
            fidelity("prior samples", "other", 2000, 1961, classes),
            fidelity("samples between classes", "other", 4000, 3814, classes),
        ),
        "margins": Margins(
            samples="held-out samples",
            edges=tuple(edges.tolist()),
            teacher=tuple(np.histogram(rng.gamma(2, 1.6, 2000), edges)[0].tolist()),
            student=tuple(np.histogram(rng.gamma(2, 1.4, 2000), edges)[0].tolist()),
        ),
        "gates": (
            Gate(name="agreement on held-out samples", wanted="at least 95.0%", got="97.3%", passed=True),
            Gate(name="size", wanted="at least 4.0x smaller", got="4.0x smaller", passed=True),
        ),
        "assumptions": ("Pixels lie between 0 and 1, because no range was given.",),
    }
    return Report(**(facts | changes))


def digits_pictures() -> Pictures:
    images, labels = load_digits(return_X_y=True)
    noise = np.random.default_rng(1).normal(0, 0.12, images.shape)
    student = labels.copy()
    student[::23] = (student[::23] + 5) % 10
    samples = np.clip(images / 16 + noise, 0, 1).reshape(-1, 1, 8, 8).astype(np.float32)
    return Pictures(samples, labels, student, "NCHW", np.zeros(1), np.ones(1))


def moons_pictures() -> Pictures:
    x, y = np.linspace(-2, 3, 160), np.linspace(-1.5, 2, 140)
    columns, rows = np.meshgrid(x, y)
    rng = np.random.default_rng(2)
    points = np.stack([rng.uniform(-2, 3, 700), rng.uniform(-1.5, 2, 700)], axis=1).astype(np.float32)
    teacher = (rows > np.sin(2 * columns) * 0.7).astype(int)
    student = (rows > np.sin(2 * columns + 0.1) * 0.65).astype(int)
    labels = (points[:, 1] > np.sin(2 * points[:, 0]) * 0.7).astype(int)
    guesses = (points[:, 1] > np.sin(2 * points[:, 0] + 0.1) * 0.65).astype(int)
    regions = Regions(x, y, teacher, student)
    return Pictures(points, labels, guesses, "flat", np.array([-2.0, -1.5]), np.array([3.0, 2.0]), regions)


def table_pictures(features: int = 30) -> Pictures:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 400)
    samples = np.clip(0.5 + 0.25 * np.sin(np.arange(features) * (1 + labels[:, None])), 0, 1)
    return Pictures(
        samples + rng.normal(0, 0.05, samples.shape), labels, labels, "flat", np.zeros(1), np.ones(1)
    )


@pytest.fixture(scope="session")
def make_report() -> MakeReport:
    """Builds a report of `classes` classes with some fields exchanged."""
    return build_report


@pytest.fixture(scope="session")
def digits() -> Pictures:
    """1,797 noisy digits of 8 by 8, a few of them called differently by the student."""
    return digits_pictures()


@pytest.fixture(scope="session")
def moons() -> Pictures:
    """Two features with the regions of two slightly different boundaries."""
    return moons_pictures()


@pytest.fixture(scope="session")
def table() -> Pictures:
    """400 samples of 30 features in 3 classes."""
    return table_pictures()
