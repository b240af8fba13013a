"""The two ways to make a student: `rounds` (ours) and `paper` (CAKE and LAKE as published)."""

from cake_onnx.methods.training import Checkpoints, NoCheckpoints, Point, Training

__all__ = ["Checkpoints", "NoCheckpoints", "Point", "Training"]
