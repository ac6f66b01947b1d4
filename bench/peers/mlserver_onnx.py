"""MLServer: a custom runtime behind the Open Inference Protocol, a worker a core, photos as base64."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from pixels import answer, decoded, session


class Classifier(MLModel):
    """One session a worker."""

    async def load(self) -> bool:
        """Open the model."""
        self.session = session(1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One photo's label."""
        content = Base64Codec.decode_input(payload.inputs[0])[0]
        found = answer(self.session.run(["probabilities"], {"image": decoded(content)})[0][0])
        label = StringCodec.encode_output("label", [found["label"]])
        return InferenceResponse(model_name=self.name, outputs=[label])
