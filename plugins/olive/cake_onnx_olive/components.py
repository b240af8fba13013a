"""Importing this makes the evaluator and the samples known to Olive; give its path as a `user_script`."""

from cake_onnx_olive.evaluator import NAME as EVALUATOR
from cake_onnx_olive.evaluator import AgreementEvaluator
from cake_onnx_olive.samples import NAME as SAMPLES
from cake_onnx_olive.samples import cake_samples

__all__ = ["EVALUATOR", "SAMPLES", "AgreementEvaluator", "cake_samples"]
