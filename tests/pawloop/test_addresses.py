"""What of an address may be shown."""

from __future__ import annotations

import pytest

from pawloop.addresses import public, public_text


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://me:s3cret@host:8443/a b.zip?X-Amz-Signature=SIG&x=1", "https://host:8443/a b.zip"),
        ("https://me:p@ss::word@host/x.zip", "https://host/x.zip"),
        ("https://token@host", "https://host"),
        ("zip://*.jpg::https://me:s3cret@host/x.zip?sig=SIG", "zip://*.jpg::https://host/x.zip"),
    ],
)
def test_user_password_and_query_are_left_out(source: str, shown: str) -> None:
    assert public(source) == shown


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/x",
        "s3://bucket/me@home/x",
        "hf://datasets/us/pets@main/train",
        "abfs://photos@account.dfs.core.windows.net/pets",
        "sample://pets?count=400&seed=0",
        "journal://pets",
        "oxford-iiit-pet",
        "../photos/what? me@home",
        "file:///photos/pets",
    ],
)
def test_what_holds_no_key_is_shown_whole(source: str) -> None:
    assert public(source) == source


def test_an_address_in_a_sentence_loses_its_keys_and_the_rest_stays() -> None:
    said = "403, message='no', url='https://me:s3cret@host/x?sig=SIG', of s3://bucket/x: twice?"
    assert public_text(said) == "403, message='no', url='https://host/x', of s3://bucket/x: twice?"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["a", "a.", "://", "a://x?", "://a@"])
def test_a_long_name_takes_no_long_time(piece: str) -> None:
    public_text(piece * 100_000)
