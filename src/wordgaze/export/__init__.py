"""A model as ONNX files, and a session that runs them. Import ``session`` and ``manifest`` where there is no torch."""
