"""A trained run as a package for a device: ONNX files, and a description with hashes."""
