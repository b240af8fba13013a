from __future__ import annotations

import pytest

from cake_onnx.errors import CakeError, RunFailedError, UnsupportedTeacherError, UsageError


@pytest.mark.parametrize(
    ("kind", "code"), [(CakeError, 4), (UsageError, 2), (UnsupportedTeacherError, 3), (RunFailedError, 4)]
)
def test_an_error_says_expected_found_and_what_to_do(kind: type[CakeError], code: int) -> None:
    error = kind("a file", "a folder", "name the file in it")
    assert str(error) == "expected a file; found a folder. Name the file in it."
    assert (error.expected, error.found, error.remedy) == ("a file", "a folder", "name the file in it")
    assert error.exit_code == code
    assert isinstance(error, CakeError)


def test_a_remedy_may_begin_with_a_flag() -> None:
    assert str(UsageError("x", "y", "`--seed` takes a number")).endswith("y. `--seed` takes a number.")
