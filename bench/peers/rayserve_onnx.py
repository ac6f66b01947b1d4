"""Ray Serve: a replica a core, a photo as the body."""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

from pixels import PORT, WORKERS, answer, decoded, session
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=4, ray_actor_options={"num_cpus": 0.5})
class Classifier:
    """One session a replica."""

    def __init__(self) -> None:
        self.session = session(1)

    async def __call__(self, request: Request) -> dict:
        """One photo's label."""
        return answer(self.session.run(["probabilities"], {"image": decoded(await request.body())})[0][0])


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classifier.bind(), route_prefix="/predict", blocking=True)
