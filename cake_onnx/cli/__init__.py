"""The command: the only place that prints or exits."""

from cake_onnx.cli.main import main

__all__ = ["main"]
