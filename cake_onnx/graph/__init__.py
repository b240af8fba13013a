"""Everything that touches ONNX protobuf. Above this floor a model is specs, a torch module and a session."""
