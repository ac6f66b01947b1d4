"""An ONNX model opened the one way that both evaluation and serving open it.

Every number of a model card is made through here, so the server cannot differ from it. Knows
onnxruntime; knows nothing about cards, photos or HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pawloop.errors import DamagedVersionError, SettingsError

OUTPUTS: Final = ("probabilities", "embedding")
Provider = Literal["cpu", "openvino"]
_PROVIDERS: Final[dict[Provider, str]] = {
    "cpu": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


class Session:
    """One model in memory, safe to run from several threads at once."""

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int = 1,
        at_once: int = 1,
        provider: Provider = "cpu",
        spin_us: int = 0,
    ) -> None:
        """Open a model file, or its bytes.

        threads: inside one run. A server keeps 1 and runs several at once instead, as many as it says
        by `at_once`; a batch job may take all cores. provider: which of `providers()`. spin_us: for how
        many microseconds the threads of a run stay awake for the next layer, which is sooner there by that,
        where the run has the cores for itself.
        Raises DamagedVersionError when onnxruntime cannot load the model, SettingsError as
        `require_provider` does.
        """
        source = model if isinstance(model, bytes) else str(model)
        require_provider(provider)
        with_options = (_PROVIDERS[provider], _provider_options(provider, threads, at_once))
        try:
            self._session = ort.InferenceSession(source, _options(threads, spin_us), [with_options])
        # onnxruntime raises a dozen classes of its own without a common base
        except Exception as error:
            where = "model bytes" if isinstance(model, bytes) else model
            raise DamagedVersionError(f"{where}: onnxruntime cannot load it: {error}") from error
        self.outputs: tuple[str, ...] = tuple(out.name for out in self._session.get_outputs())
        self.input_shape: list[int | str] = self._session.get_inputs()[0].shape
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(
        self, images: NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Answers for images [N, S, S, 3]: by output name, each [N, …]; all outputs unless named."""
        wanted = list(outputs or self.outputs)
        return dict(zip(wanted, self._session.run(wanted, {"image": images}), strict=True))


def providers() -> list[Provider]:
    """The execution providers that this installation of onnxruntime has, the reference first."""
    available = ort.get_available_providers()
    return [name for name, theirs in _PROVIDERS.items() if theirs in available]


def require_provider(provider: Provider) -> None:
    """Raise SettingsError where this installation lacks the provider."""
    if provider not in providers():
        raise SettingsError(
            f'PAWLOOP_PROVIDER: "{provider}" is not in this installation of onnxruntime; put the package '
            "onnxruntime-openvino in its place, or set PAWLOOP_PROVIDER=cpu"
        )


def _options(threads: int, spin_us: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A run then takes the memory of all its tensors as one block. Tensor by tensor, runs that go on at once
    # hand blocks to one another: 1.36 times the time where their cores share no cache, measured.
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    # Idle threads that spin take the cores from the decoders beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin_us else "0")
    if spin_us:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    return options


def _provider_options(provider: Provider, threads: int, at_once: int) -> dict[str, str]:
    if provider == "cpu":
        return {}
    # A stream a caller, and none pinned to a core: OpenVINO pins the streams of all its models to the first
    # ones, where two threads together answered 300 photos a second, and 560 without.
    ours = {
        "NUM_STREAMS": str(at_once),
        "INFERENCE_NUM_THREADS": str(threads * at_once),
        "ENABLE_CPU_PINNING": "NO",
    }
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": ours})}
