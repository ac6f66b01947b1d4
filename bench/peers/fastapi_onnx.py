"""FastAPI and onnxruntime, as the tutorials have it: `UploadFile`, a plain function, one session."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

import os

from fastapi import FastAPI, UploadFile
from pixels import answer, decoded, session

app = FastAPI()
threads = os.environ.get("BENCH_ORT_THREADS")
model = session(int(threads) if threads else None)


@app.post("/predict")
def predict(file: UploadFile):
    """One photo's label, on a thread of the pool."""
    return answer(model.run(["probabilities"], {"image": decoded(file.file.read())})[0][0])


@app.post("/predict-async")
async def predict_async(file: UploadFile):
    """The same on the event loop."""
    return answer(model.run(["probabilities"], {"image": decoded(await file.read())})[0][0])
