"""Flask and PyTorch, as the tutorials have it: a file of a form, one network, one route."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

import torch
from flask import Flask, jsonify, request
from pixels import TORCH_MODEL, answer, decoded

app = Flask(__name__)
model = torch.jit.load(TORCH_MODEL).eval()


@app.post("/predict")
def predict():
    """One photo's label."""
    pixels = torch.from_numpy(decoded(request.files["file"].read()).copy())
    with torch.inference_mode():
        return jsonify(answer(model(pixels)[0].numpy()))
