"""`python -m cake_onnx_olive` is the command."""

from cake_onnx_olive.cli import main

main()
