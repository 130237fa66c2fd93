#!/usr/bin/env python3
"""Which logits does onnxruntime compute? onnx_logits.py MODEL.onnx IMAGES OUT

IMAGES are raw 32-bit floats, N×C×H×W with the model's C, H and W; OUT gets the logits
as raw 32-bit floats. The model is checked by onnx first.
"""
import sys

import numpy
import onnx
import onnxruntime

path, images, out = sys.argv[1:]
onnx.checker.check_model(path, full_check=True)
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape[1:]
values = numpy.fromfile(images, numpy.float32).reshape(-1, *shape)
(logits,) = session.run(["logits"], {"images": values})
logits.astype(numpy.float32).tofile(out)
