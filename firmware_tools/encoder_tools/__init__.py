"""Encoder files on the host: look inside, expose taps, convert Lite0, quantise.

Nothing is imported here: each module loads onnx, flatbuffers or a quantiser only when it is used.
"""
