from __future__ import annotations

import pytest
from onnx import defs

from cake_onnx.graph.operators import registry

DROPPED = {
    ("", op_type, 1)
    for op_type in (
        *("Affine", "Crop", "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh", "ThresholdedRelu"),
        *("SimplifiedLayerNormalization", "LayerNormalization", "MeanVarianceNormalization"),
    )
}
"""Operators that onnxruntime has in ONNX's own domain and the specification has not, or no longer."""


def test_registered_versions_exist_in_the_specification() -> None:
    known = {
        (schema.domain, schema.name, schema.since_version) for schema in defs.get_all_schemas_with_history()
    }
    ours = {entry for entry in registry.registered() if entry[0] != registry.MICROSOFT} - DROPPED
    assert len(ours) > 150
    assert ours <= known


def test_no_version_in_between_is_left_out() -> None:
    """Between the first and the last version we convert there is none that falls to an older meaning."""
    versions: dict[str, set[int]] = {}
    for domain, op_type, version in registry.registered():
        if domain == "" and (domain, op_type, version) not in DROPPED:
            versions.setdefault(op_type, set()).add(version)
    history: dict[str, set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, set()).add(schema.since_version)
    for op_type, ours in versions.items():
        between = {version for version in history[op_type] if min(ours) < version < max(ours)}
        assert between <= ours, op_type


@pytest.mark.parametrize(
    ("domain", "op_type", "version", "known"),
    [
        ("", "Reshape", 19, True),
        ("", "Relu", 14, True),
        ("", "Multinomial", 7, False),
        ("x.y", "Relu", 1, False),
    ],
)
def test_what_converts(domain: str, op_type: str, version: int, known: bool) -> None:
    assert registry.has_converter(domain, op_type, version) is known


def test_private_domains_have_no_dots() -> None:
    assert registry.own_domain("com.microsoft", 1) == "cake_com_microsoft_1"


def test_a_module_shows_what_it_does() -> None:
    assert repr(registry.Apply(len, axis=1)) == "Apply(len, axis=1)"
