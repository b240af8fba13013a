from __future__ import annotations

import pytest

from cake_onnx.errors import UsageError
from cake_onnx.registry import Registry


def fruit() -> Registry[int]:
    registry: Registry[int] = Registry("fruit", "--fruit")
    for number, name in enumerate(("apple", "banana", "cherry")):
        registry.register(name)(number)
    return registry


def test_names_keep_their_order_and_lead_to_their_entries() -> None:
    registry = fruit()
    assert registry.names() == ("apple", "banana", "cherry")
    assert [registry.get(name) for name in registry.names()] == [0, 1, 2]


def test_register_is_a_decorator_that_changes_nothing() -> None:
    registry: Registry[type] = Registry("thing", "--thing")

    @registry.register("one")
    class One:
        pass

    assert registry.get("one") is One


def test_an_unknown_name_lists_all_names_nearest_first() -> None:
    with pytest.raises(UsageError) as caught:
        fruit().get("chery")
    assert caught.value.found == "'chery'"
    assert caught.value.expected.startswith("a fruit out of cherry, ")
    assert all(name in caught.value.remedy for name in ("--fruit", "apple", "banana", "cherry"))


def test_a_name_is_registered_once() -> None:
    registry = fruit()
    with pytest.raises(ValueError, match="'apple' is registered twice"):
        registry.register("apple")(9)
    assert registry.get("apple") == 0
