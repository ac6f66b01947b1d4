"""This machine is asked directly, whatever proxy the environment names."""

from __future__ import annotations

import os

import pytest

from pawloop import directly


@pytest.mark.parametrize(("before", "after"), [("", ""), ("intranet, .corp", "intranet,.corp,")])
def test_what_somebody_left_out_stays_left_out(
    before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", before)
    monkeypatch.setenv("no_proxy", "")
    directly.bypass_proxy()
    directly.bypass_proxy()
    for name in ("NO_PROXY", "no_proxy"):
        assert os.environ[name] == f"{after}127.0.0.1,localhost,::1"


def test_who_asks_no_proxy_at_all_still_asks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("no_proxy", raising=False)
    directly.bypass_proxy()
    assert os.environ["NO_PROXY"] == "*"
