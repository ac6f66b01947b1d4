"""LitServe: a worker a core, its fast queue, a photo as the file of a form."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

import litserve
from pixels import PORT, WORKERS, answer, decoded, session


class Api(litserve.LitAPI):
    """Decode, predict, encode."""

    def setup(self, device):  # noqa: ARG002  # LitServe gives it
        """One session a worker, with one thread each."""
        self.session = session(1)

    def decode_request(self, request):
        """A form's file to pixels."""
        return decoded(request["file"].file.read())

    def predict(self, pixels):
        """Pixels to probabilities."""
        return self.session.run(["probabilities"], {"image": pixels})[0][0]

    def encode_response(self, probabilities):
        """Probabilities to an answer."""
        return answer(probabilities)


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
