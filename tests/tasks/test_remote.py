"""Sources behind URLs, tried on fsspec's own memory file system and on a real HTTP server."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from pawloop.errors import SourceError, UnreachableSourceError
from tasks import browse, remote
from tasks import collect as collecting
from tasks.collect import collect
from tasks.manifest import versions
from tasks.take_out import take_out
from tests.tasks.albums import album, made, photo, problem
from tests.tasks.test_archive import MEMBERS, zipped


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server's address, and the folder that it serves."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_a_folder_behind_a_url_is_imported(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    for name, content in MEMBERS.items():
        memory.pipe(f"/{name}", content)

    dataset = made(problem("memory://pets"), tmp_path)
    memory.rm("/pets", recursive=True)

    photos = [one for side in ("train", "validation", "test") for one in dataset.photos(side)]
    assert {dataset.read(one) for one in photos} == set(MEMBERS.values())


def test_a_file_larger_than_any_photo_is_left_out_unread(
    memory: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_LARGEST_BYTES", 2**20)
    for name, content in {**MEMBERS, "pets/cat/film.jpg": bytes(2**20 + 1)}.items():
        memory.pipe(f"/{name}", content)

    found = collect(problem("memory://pets"), tmp_path)

    assert found.photo_count == 12
    assert any("more than 1 MiB is no photo" in note and "film.jpg" in note for note in found.notes)


def test_an_archive_on_a_web_server_is_fetched_once(website: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = website
    zipped(folder / "pets.zip", MEMBERS)

    first = collect(problem(f"{address}/pets.zip"), tmp_path / "store")
    kept = list((tmp_path / "store" / "cache" / "fetched").rglob("*.zip"))
    before = kept[0].stat().st_mtime_ns
    again = collect(problem(f"{address}/pets.zip"), tmp_path / "store")

    assert first.photo_count == again.photo_count == 12
    assert len(kept) == 1
    assert kept[0].stat().st_mtime_ns == before


def test_of_an_archive_that_changes_on_a_web_server_the_last_two_stay(
    website: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = website
    for number in range(4):
        zipped(folder / "pets.zip", MEMBERS | {"pets/cat/note.txt": bytes(number)})
        assert collect(problem(f"{address}/pets.zip"), tmp_path / "store").photo_count == 12
    assert len(list((tmp_path / "store" / "cache" / "fetched").rglob("*.zip"))) == 2
    assert len(list((tmp_path / "store" / "cache" / "seen").iterdir())) == 1


def test_a_download_may_take_as_long_as_bytes_come() -> None:
    files, _ = remote._opened("http://127.0.0.1:9/pets.zip")
    patience = files.client_kwargs["timeout"]
    assert patience.total is None
    assert patience.sock_read


def test_a_list_of_urls_is_read_and_what_cannot_be_had_is_told(
    website: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = website
    album(folder, each=2)
    lines = [
        "url,label",
        *(f"{address}/{label}/{label}00{i}.jpg,{label}" for label in ("cat", "dog") for i in (0, 1)),
    ]
    (folder / "list.csv").write_text("\n".join([*lines, f"{address}/cat/gone.jpg,cat", "dog/dog000.jpg,dog"]))

    found = collect(problem(f"{address}/list.csv"), tmp_path / "store")

    assert found.photo_count == 5
    assert any("cat/gone.jpg" in note for note in found.notes)


def test_keys_in_an_address_are_used_and_shown_nowhere(website: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = website
    zipped(folder / "pets.zip", {**MEMBERS, "pets/cat/broken.jpg": b"no photo"})
    secret = address.replace("://", "://me:s3cret@") + "/pets.zip?X-Amz-Signature=SIGNED"
    about = problem(secret, tmp_path / "more")
    album(tmp_path / "more", each=2)

    dataset = made(about, tmp_path / "store")

    facts, rows = dataset.facts(), dataset.rows(["source", "reason"])
    assert facts["sources"] == [f"{address}/pets.zip", str(tmp_path / "more")]
    assert set(rows["source"].to_pylist()) == set(facts["sources"])
    for said in (facts, rows.to_pylist(), (dataset.folder / "version.json").read_text()):
        assert "s3cret" not in str(said)
        assert "SIGNED" not in str(said)


def test_keys_in_the_addresses_of_a_list_stand_in_no_name(website: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = website
    zipped(folder / "pets.zip", MEMBERS)
    (folder / "broken.jpg").write_bytes(b"no photo")
    lines = [f"{address}/{name}.jpg?s3cret,cat" for name in ("broken", "gone")]
    (folder / "list.csv").write_text("\n".join(["url,label", *lines]))

    dataset = made(problem(f"{address}/pets.zip", f"{address}/list.csv"), tmp_path / "store")

    [aside] = browse.quarantine(dataset)
    assert re.fullmatch(rf"{address}/broken\.jpg\?…[0-9a-f]{{6}}", aside.name)
    assert "gone.jpg" in str(dataset.facts()["notes"])
    assert "s3cret" not in f"{dataset.facts()} {dataset.rows().to_pylist()}"


def test_keys_in_an_address_stand_in_no_error(
    website: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    address = website[0].replace("://", "://me:s3cret@")

    for source in (f"{address}/no.zip?key=SIGNED", f"{address}/no.csv?key=SIGNED", "gopher://me:s3cret@pets"):
        with pytest.raises(SourceError) as caught:
            collect(problem(source), tmp_path)
        assert "s3cret" not in str(caught.value)
        assert "SIGNED" not in str(caught.value)


def test_photos_found_anew_under_another_key_are_those_of_before(
    website: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = website
    zipped(folder / "pets.zip", MEMBERS)

    first = made(problem(f"{address}/pets.zip?key=1"), tmp_path)
    again = made(problem(f"{address}/pets.zip?key=2"), tmp_path)

    assert again.id == first.id
    assert versions(tmp_path, "test") == [first]


def test_a_network_that_fails_now_and_then_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    answers: list[object] = [ConnectionResetError("reset"), TimeoutError("slow"), b"photo"]

    def read() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    assert remote.again(read) == b"photo"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("memory://nowhere", "nothing"),
        ("http://127.0.0.1:9/pets.zip", "cannot be reached: Cannot connect"),
        ("gopher://pets", "gopher"),
        ("sample://birds", 'the only one is "sample://pets"'),
    ],
)
def test_a_source_that_cannot_be_reached_is_told(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    with pytest.raises(SourceError, match=words):
        collect(problem(source), tmp_path)


def test_an_address_where_nothing_lies_is_told_at_once(website: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is nothing at this address") as caught:
        collect(problem(f"{website[0]}/pets.zip"), tmp_path / "store")
    assert not isinstance(caught.value, UnreachableSourceError)


def test_remote_photos_lose_their_place_but_not_their_pixels(
    memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    for name, content in MEMBERS.items():
        memory.pipe(f"/{name}", content)
    memory.pipe("/pets/cat/gps.jpg", photo(9, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0secret place"))

    dataset = made(problem("memory://pets"), tmp_path)

    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "photos").rglob("*.jpg"))
    assert sum(sum(side.values()) for side in dataset.counts().values()) == 13


class Breaking(http.server.BaseHTTPRequestHandler):
    """Gives ranges of one file, and breaks off in the middle of every answer while `is_broken`."""

    content = b""
    is_broken = False
    given = 0

    def do_HEAD(self) -> None:
        self._head(200, len(self.content))

    def do_GET(self) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        body = self.content[int(first) : int(last) + 1]
        self._head(206, len(body))
        if type(self).is_broken and int(first) > 0:
            body = body[: len(body) // 2]
            self.close_connection = True
        type(self).given += len(body)
        self.wfile.write(body)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def breaking(tmp_path: Path) -> Iterator[str]:
    """The address of an archive on a server that can be told to break off."""
    Breaking.content = zipped(tmp_path / "pets.zip", MEMBERS).read_bytes()
    Breaking.is_broken, Breaking.given = False, 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/pets.zip"
        server.shutdown()


def test_an_archive_whose_download_breaks_off_goes_on_where_it_stopped(
    breaking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("tasks.fetch.PIECE_BYTES", 4_000)
    Breaking.is_broken = True
    with pytest.raises(SourceError, match="cannot be reached"):
        collect(problem(breaking), tmp_path / "store")
    [part] = (tmp_path / "store" / "cache" / "fetched").rglob("*.part")
    assert part.read_bytes() == Breaking.content[:4_000]
    Breaking.is_broken, Breaking.given = False, 0

    found = collect(problem(breaking), tmp_path / "store")

    assert found.photo_count == 12
    assert Breaking.given == len(Breaking.content) - 4_000 + 1  # one byte asks whether pieces are given


def test_an_archive_in_an_object_store_comes_in_pieces(
    memory: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.fetch.PIECE_BYTES", 1_000)
    memory.pipe("/box/pets.zip", zipped(tmp_path / "pets.zip", MEMBERS).read_bytes())

    assert collect(problem("memory://box/pets.zip"), tmp_path / "store").photo_count == 12


def test_folders_of_a_web_server_have_the_names_that_people_gave_them(
    website: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = website
    classes = ("Maine Coon", "Münsterländer")
    album(folder / "pets", classes, each=2)
    found = collect(problem(f"{address}/pets/", classes=classes), tmp_path / "store")
    assert found.classes == dict.fromkeys(classes, 2)


def test_photos_whose_addresses_have_queries_are_named_by_what_they_are(
    website: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = website
    album(folder, each=2)
    query = "?X-Amz-Signature=" + "0123456789abcdef" * 20
    lines = [f"{address}/{c}/{c}00{i}.jpg{query},{c}" for c in ("cat", "dog") for i in (0, 1)]
    (tmp_path / "list.csv").write_text("\n".join(["url,label", *lines]))

    dataset = made(problem(tmp_path / "list.csv"), tmp_path / "store")
    take_out(dataset, tmp_path / "out")

    assert {row["location"].rpartition(".")[2] for row in dataset.rows().to_pylist()} == {"jpg"}
    assert made(problem(tmp_path / "out"), tmp_path / "store") == dataset


@pytest.mark.parametrize(
    "place", ["local:///etc/hosts", "file:///etc/hosts", "simplecache::file:///etc/hosts"]
)
def test_a_list_from_another_machine_may_not_name_files_of_this_one(
    website: tuple[str, Path], tmp_path: Path, place: str
) -> None:
    address, folder = website
    (folder / "list.csv").write_text(f"url,label\n{place},cat\n")
    with pytest.raises(SourceError, match="may not name files of this one"):
        collect(problem(f"{address}/list.csv"), tmp_path / "store")


@pytest.mark.parametrize("place", ["htps://host/a.jpg", "gopher://host/a.jpg"])
def test_an_address_of_an_unknown_kind_in_a_list_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "list.csv").write_text(f"url,label\n{place},cat\n")
    with pytest.raises(SourceError, match=f"list.csv: .*{place.partition(':')[0]}"):
        collect(problem(tmp_path / "list.csv"), tmp_path / "store")


def test_two_that_fetch_the_same_archive_get_it_whole(
    memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    memory.pipe("/pets.zip", zipped(tmp_path / "pets.zip", MEMBERS).read_bytes() + bytes(20 << 20))
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: remote.fetched("memory://pets.zip", tmp_path / "store"), range(4)))
    (path,) = paths
    assert path.read_bytes() == memory.cat("/pets.zip")
