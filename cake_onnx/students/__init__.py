"""Student architectures: families of networks, each sized by one number.

Importing this package registers the families.
"""

from __future__ import annotations

from cake_onnx.students import cnn, mlp, resnet, vit
from cake_onnx.students.family import FAMILIES, Family, Student
from cake_onnx.students.sizing import build_student

__all__ = ["FAMILIES", "Family", "Student", "build_student", "cnn", "mlp", "resnet", "vit"]
