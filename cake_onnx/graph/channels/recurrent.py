"""Where hidden states run along: LSTM, GRU and RNN lose whole units, with all gates of each."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from cake_onnx.graph.channels.follow import LostError, Walk, rule
from cake_onnx.graph.wiring import attribute

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@rule(*_GATES)
def recurrent(walk: Walk, node: NodeProto) -> None:
    """ONNX LSTM-22, GRU-22, RNN-22: weights `(D, G H, I)` and `(D, G H, H)`, biases `(D, 2 G H)`.

    Both directions lose the same units.
    """
    x, weight, state_weight = node.input[:3]
    batch_first = int(attribute(node, "layout", 0))  # type: ignore[call-overload]
    given = {place: name for place, name in enumerate(node.input) if name and place > 2}
    if any(walk.constant(name) is None for name in (weight, state_weight)) or 7 in given or batch_first:
        raise LostError("computed weights, peepholes or another layout")
    gates = _GATES[node.op_type]
    units = walk.fresh(walk.shape(state_weight)[2])
    all_gates = None if units is None else np.tile(units, gates)
    walk.contracted |= {weight: 2, state_weight: 2}
    walk.set(weight, [None, all_gates, walk.label(x)[2]])
    walk.set(state_weight, [None, all_gates, units])
    if 3 in given:
        walk.set(node.input[3], [None, None if units is None else np.tile(units, 2 * gates)])
    for place in (5, 6):
        if place in given:
            start = walk.label(given[place])[2]
            walk.unite(start, units, f"{node.op_type} '{node.name}' starts from something that stays")
    made = [[None, None, None, units], [None, None, units], [None, None, units]]
    for name, labels in zip(node.output, made, strict=False):
        walk.set(name, labels)
