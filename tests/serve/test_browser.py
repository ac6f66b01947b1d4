"""The page in a real browser, where one is installed: what a person sees, presses and is told."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import published
from tests.serve.running import Running, running, settings, until

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RED = published.photo("red")
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="no Chromium or Chrome is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        opened = context.new_page()
        mistakes: list[object] = []
        opened.on("pageerror", lambda error: mistakes.append(error))
        yield opened
        assert not mistakes


@pytest.fixture(scope="module")
def journaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("journaled")
    published.champion(folder / "store")
    with running(settings(folder, journal="")) as started:
        yield started


def choose(page: Page, content: bytes) -> None:
    page.locator("#file").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content})


def test_a_photo_is_answered_and_a_correction_is_noted(page: Page, journaled: Running) -> None:
    page.goto(journaled.url)
    choose(page, RED)
    expect(page.locator("#label")).to_have_text("cat")
    expect(page.locator("#bars li")).to_have_count(2)
    page.locator("#choices button", has_text="dog").click()
    expect(page.locator("#question")).to_have_text("Thank you, noted as dog.")
    expect(page.locator("#choices button", has_text="dog")).to_have_attribute("aria-pressed", "true")


def test_of_many_classes_the_likeliest_are_shown_and_the_others_are_in_a_list(
    page: Page, tmp_path: Path
) -> None:
    names = [f"kind {number:02}" for number in range(40)]
    published.promote(tmp_path / "store", published.publish(tmp_path / "store", classes=names))
    with running(settings(tmp_path, journal="")) as server:
        page.goto(server.url)
        choose(page, RED)
        expect(page.locator("#bars li")).to_have_count(6)
        expect(page.locator("#choices button")).to_have_count(7)  # the last one saves what the list names
        expect(page.locator("#label")).to_contain_text(page.locator("#choices button").first.inner_text())
        others = page.get_by_label("another class")
        expect(others.locator("option")).to_have_count(35)
        others.press("ArrowDown")
        page.wait_for_timeout(300)
        expect(page.locator("#question")).not_to_contain_text("noted")
        others.select_option("kind 31")
        others.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#question")).to_have_text("Thank you, noted as kind 31.")
        expect(others).to_have_value("kind 31")
        expect(others).to_be_focused()
        page.locator("#choices button").first.press("Enter")
        expect(page.locator("#choices button").first).to_be_focused()


def test_what_was_said_by_mistake_is_taken_back(page: Page, journaled: Running) -> None:
    page.goto(journaled.url)
    choose(page, RED)
    page.locator("#choices button", has_text="dog").click()
    page.get_by_role("button", name="take it back").click()
    expect(page.locator("#question")).to_contain_text("Is that right?")
    expect(page.locator("#choices button[aria-pressed=true]")).to_have_count(0)
    expect(page.get_by_role("button", name="take it back")).to_have_count(0)
    page.locator("#choices button", has_text="cat").click()
    expect(page.locator("#question")).to_have_text("Thank you, noted as cat.")


def test_while_a_photo_is_asked_nothing_can_be_said_of_the_one_before(page: Page, journaled: Running) -> None:
    said: list[str] = []
    page.on("request", lambda request: said.append(request.url) if "feedback" in request.url else None)
    page.goto(journaled.url)
    choose(page, RED)
    expect(page.locator("#label")).to_have_text("cat")
    held: list[Any] = []
    page.route("**/predict", lambda route: held.append(route))
    choose(page, published.photo("blue"))
    expect(page.locator("#answer")).to_have_class("asking")
    page.locator("#choices button", has_text="dog").click(force=True)
    until(lambda: page.wait_for_timeout(50) or held)
    held[0].continue_()
    expect(page.locator("#answer")).not_to_have_class("asking")
    assert not said
    page.locator("#choices button", has_text="dog").click()
    expect(page.locator("#question")).to_have_text("Thank you, noted as dog.")


def test_a_key_that_is_asked_for_carries_what_was_wanted(page: Page, tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256(b'open sesame').hexdigest()}\n")
    with running(settings(tmp_path, api_keys=keys, journal="")) as server:
        page.goto(server.url)
        choose(page, RED)
        page.locator("#key-value").fill("open sesame")
        page.locator("#key button").click()
        expect(page.locator("#label")).to_have_text("cat")
        expect(page.get_by_text("model card")).to_be_hidden()
        page.evaluate("sessionStorage.setItem('key', 'another')")
        page.locator("#choices button", has_text="dog").click()
        expect(page.locator("#trouble")).to_contain_text("API key")
        page.locator("#key-value").fill("open sesame")
        page.locator("#key button").click()
        expect(page.locator("#question")).to_have_text("Thank you, noted as dog.")
        expect(page.locator("#trouble")).to_be_hidden()


def test_what_is_no_photo_is_told(page: Page, journaled: Running) -> None:
    page.goto(journaled.url)
    choose(page, b"this is a text")
    expect(page.locator("#trouble")).to_contain_text("not an image")


def test_a_folder_is_told_apart_from_a_server_that_is_gone(page: Page, journaled: Running) -> None:
    page.goto(journaled.url)
    unreadable = """() => {
        const folder = new File([], "photos");
        folder.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("NotFoundError")) });
        const event = new Event("paste");
        event.clipboardData = { files: [folder] };
        document.dispatchEvent(event);
    }"""
    page.evaluate(unreadable)
    expect(page.locator("#trouble")).to_have_text(
        "This is no file that can be read; choose photos, not a folder."
    )


def test_a_page_of_another_site_asks_where_it_is_named(page: Page, tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    ask = """async ([url, photo]) => {
        const headers = {"content-type": "image/png", "x-request-timeout-ms": "5000"};
        const body = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
        try { return (await (await fetch(`${url}/predict`, {method: "POST", headers, body})).json()).label; }
        catch (error) { return error.name; }
    }"""
    with running(settings(tmp_path)) as site:
        page.goto(f"{site.url}/healthz")
        for origins, told in ((site.url, "cat"), ("https://other.example", "TypeError")):
            with running(settings(tmp_path, origins=origins)) as server:
                assert page.evaluate(ask, [server.url, base64.b64encode(RED).decode()]) == told
