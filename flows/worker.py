"""`python -m flows.worker`: waits for the Prefect server, then becomes a worker of the pool.

Knows one command. Knows nothing about flows.
"""

from __future__ import annotations

import os

from flows.stack import POOL, wait_for_prefect


def main() -> None:
    """Replace this process by `prefect worker start`."""
    wait_for_prefect(os.environ["PREFECT_API_URL"])
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "4"]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
