from __future__ import annotations

import pytest
import torch
from torch import nn

from cake_onnx.devices import strides_over_points
from cake_onnx.graph.convolution import Conv2d


@pytest.mark.parametrize(
    ("stride", "padding", "groups"), [(2, 0, 1), ((2, 1), 0, 1), (3, (1, 2), 2), (1, 0, 1)]
)
def test_a_strided_point_has_the_right_gradient(
    stride: int | tuple[int, int], padding: int | tuple[int, int], groups: int
) -> None:
    # Channels last and fewer than 8: what oneDNN gets wrong on processors with AVX2 alone
    ours = Conv2d(4, 10, 1, stride, padding, groups=groups)
    plain = nn.Conv2d(4, 10, 1, stride, padding, groups=groups).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(8, 15, 14, 4).movedim(-1, 1)
    slope = torch.randn_like(ours(x))
    ours(x).backward(slope)
    plain(x.double().contiguous()).backward(slope.double())
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours(x).double(), plain(x.double()), rtol=1e-5, atol=1e-5)


def test_networks_of_others_are_told_by_their_convolutions() -> None:
    assert strides_over_points(nn.Sequential(nn.Conv2d(3, 5, 1, 2)))
    assert not strides_over_points(
        nn.Sequential(Conv2d(3, 5, 1, 2), nn.Conv2d(5, 5, 3, 2), nn.Conv2d(5, 5, 1))
    )
