"""The server keeps what its OpenAPI document promises, whatever it is sent."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pawloop.settings import Settings
from serve.app import create_app
from tests.serve.running import Running

load_all_checks()
PATHS = create_app(Settings(_env_file=None)).openapi()["paths"]
OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in methods]
# No schema says what makes bytes a photo, a text a class of this problem or numbers a tensor of this model.
JUDGED_BY_CONTENT = ("/predict", "/feedback", "/infer")


@pytest.fixture(scope="module")
def api(server: Running) -> BaseSchema:
    """The document of a running server."""
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_answers_as_it_is_documented(api: BaseSchema, method: str, path: str) -> None:
    operation = api[path][method]
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    left_out = [positive_data_acceptance] if path.endswith(JUDGED_BY_CONTENT) else []

    @settings(
        max_examples=15, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.one_of(right, wrong))
    def keeps_its_word(case: schemathesis.Case) -> None:
        response = case.call(timeout=20)
        if response.status_code != 503:  # a case may leave it a millisecond
            case.validate_response(response, excluded_checks=left_out)

    keeps_its_word()
