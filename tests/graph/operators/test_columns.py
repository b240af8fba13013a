from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]
ML = "ai.onnx.ml"


@pytest.mark.parametrize("places", [[0], [2, 0], [1, 1, 3]])
def test_array_feature_extractor(places: list[int], compare: Compare, draw: Draw) -> None:
    compare("ArrayFeatureExtractor", draw(5, 4), np.array(places), domain=ML)
    compare("ArrayFeatureExtractor", draw(5, 2, 4), np.array(places), domain=ML)


def test_feature_vectorizer_cuts_and_fills(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        """g (float[B, 3] x) => (float y) {
             n = Neg(x)
             y = ai.onnx.ml.FeatureVectorizer<inputdimensions = [2, 5]>(x, n)
        }""",
        ml=1,
    )
    x = draw(4, 3)
    wanted = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert wanted.shape == (4, 7)
    np.testing.assert_allclose(convert_graph(model).eval()(torch.from_numpy(x)).numpy(), wanted)
