from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.specs import Bounds, InputSpec, OutputSpec
from cake_onnx.judge import Side
from cake_onnx.priors import ImagePrior, Prior, SeriesPrior, TabularPrior
from cake_onnx.report.gallery import draw_pictures

EACH = Bounds(tuple(range(-36, 0)), tuple(range(1, 37)), "test", assumed=False)
SIX = Bounds(tuple(range(-6, 0)), tuple(range(1, 7)), "test", assumed=False)
FLAT = InputSpec("x", (36,), "float32", "flat", EACH)
ROWS = InputSpec("x", (4, 9), "float32", "flat", EACH)
STEPS = InputSpec("x", (9, 4), "float32", "flat", EACH)
PICTURES = InputSpec("x", (6, 2, 3), "float32", "NCHW", SIX)


def side(spec: InputSpec) -> Side:
    """A real model that knows the first value from the second."""
    sides = ", ".join(map(str, spec.shape))
    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
    net (float[B, {sides}] x) => (float[B, 2] y)
    <int64[1] first = {{0}}, int64[1] third = {{2}}, int64[1] one = {{1}}>
    {{ values = Flatten(x) y = Slice(values, first, third, one) }}""")
    content = model.SerializeToString()
    return Side(content, open_session(content), spec, OutputSpec("y", None, "logits", 2, None))


KINDS: dict[str, tuple[InputSpec, Prior, str, tuple[int, ...]]] = {
    "flattened image": (FLAT, ImagePrior(FLAT, (1, 6, 6)), "NCHW", (1, 6, 6)),
    "flat series": (FLAT, SeriesPrior(FLAT, 0), "series", (1, 36)),
    "series, time last": (ROWS, SeriesPrior(ROWS, 1), "series", (4, 9)),
    "series, time first": (STEPS, SeriesPrior(STEPS, 0), "series", (4, 9)),
    "table": (FLAT, TabularPrior(FLAT), "flat", (36,)),
    "image": (PICTURES, ImagePrior(PICTURES, (6, 2, 3)), "NCHW", (6, 2, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_laid_out_as_the_prior_sees_them(kind: str) -> None:
    spec, prior, layout, shape = KINDS[kind]
    samples = np.random.default_rng(0).uniform(-1, 1, (8, *spec.shape)).astype(np.float32)
    made = draw_pictures(side(spec), side(spec), samples, prior)
    assert (made.layout, made.samples.shape, made.low.shape) == (layout, (8, *shape), shape)
    assert (made.high - 37 if spec.bounds is EACH else made.high - 7).tolist() == made.low.tolist()
    flat = samples.reshape(8, -1)
    assert made.teacher.tolist() == flat[:, :2].argmax(1).tolist()


def test_time_first_is_turned() -> None:
    samples = np.arange(36, dtype=np.float32).reshape(1, 9, 4)
    made = draw_pictures(side(STEPS), side(STEPS), samples, SeriesPrior(STEPS, 0))
    assert made.samples[0].tolist() == samples[0].T.tolist()
    assert made.low.T.ravel().tolist() == list(EACH.low)
