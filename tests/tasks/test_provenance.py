"""What a training is recorded with."""

from __future__ import annotations

import pytest
import torch

from tasks.provenance import machine, processor


def test_the_machine_is_told_by_processor_and_torch() -> None:
    assert processor() in machine()
    assert machine().endswith(f"torch {torch.__version__}")


def test_a_gpu_is_named_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert "cores, NVIDIA H200, torch" in machine()
