"""Curating: every file gets a verdict and a reason that a person understands, and none is deleted."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pawloop import settings
from pawloop.errors import PhotoError, SourceError
from pawloop.image import photo_id
from tasks.collect import collect
from tasks.curate import curate
from tasks.measure import measure
from tests.tasks.albums import album, curated, made, photo, picture, problem, reasons, verdicts


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that says to be this large."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + bytes(100))


def film() -> bytes:
    stream = io.BytesIO()
    picture(50).save(stream, "GIF", save_all=True, append_images=[picture(51)])
    return stream.getvalue()


def flat() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(stream, "PNG")
    return stream.getvalue()


TROUBLE = {
    "cut.jpg": (photo(60)[:900], "truncated", "image file is truncated"),
    "text.jpg": (b"this is a text", "unreadable", "not an image"),
    "empty.jpg": (b"", "unreadable", "0 bytes"),
    "bomb.png": (png_header(50_000, 50_000), "unreadable", "more pixels than the limit of 50,000,000"),
    "small.jpg": (photo(61, (31, 64)), "too small", "31 x 64 pixels; [data] smallest_side asks for 32"),
    "film.gif": (film(), "animated", '2 frames; [data] animated = "first-frame"'),
    "flat.png": (flat(), "blank", "one colour"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_set_aside_with_its_reason(name: str, tmp_path: Path) -> None:
    content, verdict, reason = TROUBLE[name]
    folder = album(tmp_path / "photos", each=2)
    (folder / "cat" / name).write_bytes(content)

    dataset = made(problem(folder), tmp_path / "store")

    assert dataset.facts()["set_aside"] == {verdict: 1}
    assert verdicts(dataset)[f"cat/{name}"] == verdict
    assert reason in reasons(dataset)[f"cat/{name}"]
    assert (folder / "cat" / name).read_bytes() == content


def test_the_first_frame_of_a_film_is_kept_by_choice(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=2)
    (folder / "cat" / "film.gif").write_bytes(film())

    dataset = made(problem(folder, animated="first-frame"), tmp_path / "store")

    assert verdicts(dataset)["cat/film.gif"] == "kept"


def test_exact_copies_are_set_aside_and_make_no_new_version(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    alone = made(problem(folder), tmp_path / "store")
    shutil.copy(folder / "cat" / "cat000.jpg", folder / "cat" / "zcopy.jpg")

    after = curated(problem(folder), tmp_path / "store")

    assert after.set_aside == {"exact duplicate": 1}
    assert made(problem(folder), tmp_path / "store").id == alone.id


def test_a_copy_in_another_source_is_named_with_its_source(tmp_path: Path) -> None:
    one, other = (album(tmp_path / name, each=1) for name in ("one", "other"))

    dataset = made(problem(one, other), tmp_path / "store")

    assert dataset.facts()["set_aside"] == {"exact duplicate": 2}
    assert reasons(dataset)["cat/cat000.jpg"] == f"the same file as cat/cat000.jpg of {one}"


def test_one_photo_under_two_classes_is_set_aside_in_both(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    shutil.copy(folder / "cat" / "cat000.jpg", folder / "dog" / "same.jpg")

    dataset = made(problem(folder), tmp_path / "store")

    assert dataset.facts()["set_aside"] == {"two classes": 2}
    assert "cat/cat000.jpg and dog/same.jpg" in reasons(dataset)["cat/cat000.jpg"]


def test_of_two_new_twins_the_smaller_id_stays_and_a_held_photo_always(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    twins = sorted((measure_id(q), photo(70, quality=q)) for q in (60, 90))
    (_, smaller), (_, larger) = twins
    about = problem(folder)

    (folder / "cat" / "a.jpg").write_bytes(larger)
    first = made(about, tmp_path / "store")
    (folder / "cat" / "b.jpg").write_bytes(smaller)
    second = made(about, tmp_path / "store")
    fresh = made(about, tmp_path / "another store")

    assert verdicts(first)["cat/a.jpg"] == "kept"
    assert verdicts(second)["cat/a.jpg"] == "kept"
    assert verdicts(second)["cat/b.jpg"] == "near duplicate"
    assert "cat/a.jpg" in reasons(second)["cat/b.jpg"]
    assert verdicts(fresh)["cat/b.jpg"] == "kept"
    assert verdicts(fresh)["cat/a.jpg"] == "near duplicate"


def test_near_duplicates_stay_where_the_problem_says_so(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    (folder / "cat" / "a.jpg").write_bytes(photo(70, quality=60))
    (folder / "cat" / "b.jpg").write_bytes(photo(70, quality=90))

    assert curated(problem(folder, near_duplicates=0), tmp_path / "store").set_aside == {}


def test_looking_further_for_near_duplicates_finds_those_held_already(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    (folder / "cat" / "a.jpg").write_bytes(photo(70, quality=60))
    (folder / "cat" / "b.jpg").write_bytes(photo(70, quality=90))
    made(problem(folder, near_duplicates=0), tmp_path / "store")

    later = made(problem(folder), tmp_path / "store")

    assert later.facts()["set_aside"] == {"near duplicate": 1}
    assert later.id == made(problem(folder), tmp_path / "fresh").id


def test_a_run_on_other_photos_for_once_changes_nothing_of_the_usual_version(tmp_path: Path) -> None:
    folder, other = album(tmp_path / "photos"), album(tmp_path / "other", seed=300)
    smaller, larger = (twin for _, twin in sorted((measure_id(q), photo(70, quality=q)) for q in (60, 90)))
    (folder / "cat" / "a.jpg").write_bytes(larger)
    made(problem(folder), tmp_path / "store")
    (folder / "cat" / "b.jpg").write_bytes(smaller)
    usual = made(problem(folder), tmp_path / "store")

    made(problem(other), tmp_path / "store")

    assert made(problem(folder), tmp_path / "store").id == usual.id


def test_a_photo_known_to_the_store_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = problem(album(tmp_path / "photos"))
    curated(about, tmp_path / "store")
    monkeypatch.setattr("tasks.look.measure", None)  # calling it would fail
    heard: list[tuple[int, int]] = []

    curate(
        collect(about, tmp_path / "store").path, about, tmp_path / "store", lambda *step: heard.append(step)
    )

    assert heard == [(16, 16)]


def test_a_photo_that_changes_between_collecting_and_curating_is_named(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos"))
    found = collect(about, tmp_path / "store")
    (tmp_path / "photos" / "cat" / "cat003.jpg").write_bytes(photo(99))

    with pytest.raises(SourceError, match=r"cat003\.jpg: this photo has changed"):
        curate(found.path, about, tmp_path / "store")


def test_width_and_height_are_those_of_the_upright_photo() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6

    [look] = measure([photo(1, (120, 80), exif=tags)]).numbers

    assert (look["width"], look["height"]) == (80, 120)


def test_statistics_say_what_they_are_named_after() -> None:
    photos = [photo(1), grey_photo(), shade(40), shade(200), noisy()]

    coloured, grey, dark, bright, sharp = measure(photos).numbers

    assert bright["brightness"] > dark["brightness"] + 100
    assert sharp["sharpness"] > 2 * grey["sharpness"]
    assert sharp["entropy"] > dark["entropy"]
    assert coloured["contrast"] > 2 * dark["contrast"]
    assert grey["colourfulness"] < 2 < coloured["colourfulness"]


def test_statistics_are_the_same_in_whatever_format_a_photo_comes() -> None:
    numbers = measure([photo(1, quality=95), photo(1, format="PNG"), photo(1, format="WEBP", lossless=True)])

    for name in ("brightness", "contrast", "sharpness", "entropy", "colourfulness"):
        assert numbers.numbers[name] == pytest.approx(numbers.numbers[name][0], rel=0.15)


def test_colourfulness_is_that_of_hasler_and_susstrunk() -> None:
    red, green, blue = np.asarray(picture(3, (128, 96)), np.float64).reshape(-1, 3).T
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    asked = np.hypot(*opponents.std(1)) + 0.3 * np.hypot(*opponents.mean(1))

    [look] = measure([photo(3, (128, 96), format="PNG")]).numbers

    assert look["colourfulness"] == pytest.approx(asked, rel=0.05)


def test_processes_measure_the_same_as_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = problem(album(tmp_path / "photos", each=30))
    with_threads = made(about, tmp_path / "one")
    monkeypatch.setattr("tasks.look._WORTH_PROCESSES", 1)

    with_processes = made(about, tmp_path / "two")

    assert with_processes.rows().equals(with_threads.rows())


@pytest.mark.photos
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_awkward_file_gets_a_verdict(tmp_path: Path) -> None:
    awkward = settings.load().test_data.absolute() / "awkward"
    if not awkward.exists():
        pytest.skip(f"{awkward} is not there (PAWLOOP_TEST_DATA)")
    files = sorted(path for path in awkward.iterdir() if path.suffix not in (".csv", ".txt"))
    listed = tmp_path / "list.csv"  # which takes files of any name, as no folder does
    listed.write_text("path,label\n" + "".join(f'"{path}",cat\n' for path in files))

    dataset = made(problem(album(tmp_path / "photos"), listed), tmp_path / "store")

    judged = verdicts(dataset)
    assert {str(path) for path in files} <= set(judged)
    assert all(reasons(dataset)[name] for name, verdict in judged.items() if verdict != "kept")
    assert sum(verdict != "kept" for verdict in judged.values()) > 20


def measure_id(quality: int) -> str:
    return photo_id(photo(70, quality=quality))


def shade(level: int) -> bytes:
    stream = io.BytesIO()
    Image.eval(picture(1), lambda value: value // 8 + level).save(stream, "PNG")
    return stream.getvalue()


def noisy() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((96, 72), 60).save(stream, "PNG")
    return stream.getvalue()


def grey_photo() -> bytes:
    stream = io.BytesIO()
    picture(1).convert("L").save(stream, "PNG")
    return stream.getvalue()


def test_a_phones_heic_is_kept_where_its_extra_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    folder = album(tmp_path / "photos", each=2)
    (folder / "cat" / "phone.heic").write_bytes(photo(90, format="HEIF"))

    assert verdicts(made(problem(folder), tmp_path / "store"))["cat/phone.heic"] == "kept"


def test_a_photo_that_no_decoder_could_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = album(tmp_path / "photos")
    (folder / "cat" / "big.png").write_bytes(photo(900, format="PNG"))

    def short_of_memory(*_: object) -> Image.Image:
        raise PhotoError("the photo is damaged: MemoryError")

    with monkeypatch.context() as patched:
        patched.setattr("tasks.measure.overview", short_of_memory)
        assert set(verdicts(made(problem(folder), tmp_path / "store")).values()) == {"unreadable"}
    assert set(verdicts(made(problem(folder), tmp_path / "store")).values()) == {"kept"}
