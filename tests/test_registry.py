from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cake_onnx.errors import UsageError
from cake_onnx.registry import Registry, ask_own, file_of_own, own_function


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


OWN = """
number = 3

def twice(x):
    return 2 * x

class Whole:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine.py").write_text(OWN)
    (tmp_path / "broken_one.py").write_text("def twice(x:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("of_mine", "broken_one"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_is_found_where_the_command_runs() -> None:
    assert own_function("of_mine:twice")(4) == 8
    assert own_function("of_mine:Whole")().__class__.__name__ == "Whole"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("of_mine:thrice", "no thrice there"),
        ("of_mine:number", "number, which cannot be called"),
        ("not_there:twice", "No module named 'not_there'"),
        ("broken_one:twice", "SyntaxError: '(' was never closed (broken_one.py, line 1)"),
        (":twice", "ValueError: Empty module name"),
    ],
)
def test_a_function_that_is_not_there_is_told_with_its_cause(name: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        own_function(name)
    assert caught.value.found == found


@pytest.mark.usefixtures("own")
def test_the_file_of_a_function_of_ones_own_is_found_without_running_it() -> None:
    written = file_of_own("broken_one:twice")
    assert written is not None
    assert written.read_text() == "def twice(x:\n"
    assert [file_of_own(name) for name in ("not_there:twice", "not.there:twice", ":twice", "sys:exit")] == [
        None
    ] * 4


def test_what_own_code_raises_is_not_a_bug_of_ours() -> None:
    def fails() -> None:
        raise LookupError("first line\nsecond")

    with pytest.raises(UsageError, match=r"expected a thing; found LookupError: first line\. Mend") as caught:
        ask_own("a thing", fails)
    assert isinstance(caught.value.__cause__, LookupError)

    def refuses() -> None:
        raise UsageError("a", "b", "c")

    with pytest.raises(UsageError, match="expected a; found b"):
        ask_own("a thing", refuses)
