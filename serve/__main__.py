"""`python -m serve`: the server alone, as containers start it."""

from __future__ import annotations

import sys

from pawloop import settings
from pawloop.errors import PawloopError
from serve.run import run

try:
    run(settings.load())
except PawloopError as error:
    sys.exit(f"pawloop: {error}")
