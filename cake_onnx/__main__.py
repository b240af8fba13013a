"""`python -m cake_onnx`."""

from cake_onnx.cli import main

if __name__ == "__main__":
    main()
