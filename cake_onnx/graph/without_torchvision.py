"""Import packages that ask for torchvision where there is none, or one that does not fit torch.

onnx2torch imports it for two detection operators that no classifier uses, timm for the loading of pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cake_onnx.errors import UnsupportedTeacherError

_NAME = "torchvision"


class _Nothing(type):
    """A class with any attribute that can be inherited from and asked for, but not used."""

    def __getattr__(cls, name: str) -> type:
        return _nothing(name)

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise UnsupportedTeacherError(
            "a classifier",
            f"{cls.__name__}, an operator of object detection (NonMaxSuppression or RoiAlign)",
            "use a classifier",
        )


def _nothing(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing(name, (), {})


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if _ours(fullname) else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = _nothing


def _ours(name: str) -> bool:
    return name == _NAME or name.startswith(f"{_NAME}.")


@contextmanager
def without_torchvision() -> Iterator[None]:
    """An empty `torchvision` for the length of an import; afterwards the world sees the truth again."""
    if sys.modules.get(_NAME) is not None:
        yield
        return
    before, finder = {name: sys.modules.pop(name) for name in list(sys.modules) if _ours(name)}, _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _ours(name)]:
            del sys.modules[name]
        sys.modules.update(before)
