"""Platform ids."""

import random
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest

from monitor.domain.connections import id_problem, path_segment, platform_of, same_id, user_id_problem
from tests.hostile_ids import hostile_id

GOOD = [
    "linkedin-Tz9W5i6ZYG",
    "twitter-17",
    "telegram--1001234567890",
    "telegram-1234567890",
    "tiktok--a_b-C",
    "youtube-UC-_aB34567890123456789",
    "bluesky-did:plc:abc",
    "bluesky-did:web:a.example",
    "Facebook-1",
    "publora-playground",
    "a-" + "b" * 254,
]
BAD = [
    "", "linkedin", "-", "-x", "x-", "1x-y", "x-../../webhooks", "x-..", "a-b?c", "a-b#c", "a b-c", "a-b/c", "a-b\\c", "a-b%2f..", "a-b\n",
    "a-b\x00", "a-\ud800", "a-\u202eb", "a-é", "a-" + "b" * 255, 'a-"', "a-<b>",
]  # fmt: skip


@pytest.mark.parametrize("platform_id", GOOD)
def test_good(platform_id: str) -> None:
    """Every documented shape of an id is accepted and survives the trip through a path."""
    assert id_problem(platform_id) is None
    assert unquote(path_segment(platform_id)) == platform_id


@pytest.mark.parametrize("platform_id", BAD)
def test_bad(platform_id: str) -> None:
    """An id that could leave its place in the path is refused with a reason, and never becomes a segment."""
    assert id_problem(platform_id)
    with pytest.raises(ValueError, match="platform id"):
        path_segment(platform_id)


def test_one_segment() -> None:
    """Five thousand hostile ids: refused, or exactly one segment of the path, for every URL reader on the way."""
    source = random.Random(20300101)
    accepted = 0
    for _ in range(5000):
        platform_id = hostile_id(source)
        if id_problem(platform_id) is not None:
            continue
        accepted += 1
        address = f"https://api.example/api/v1/test-connection/{path_segment(platform_id)}"
        for path in (httpx.URL(address).raw_path.decode(), urlsplit(address).path):
            head, _, segment = path.rpartition("/")
            assert head == "/api/v1/test-connection"
            assert unquote(segment) == platform_id
        assert path_segment(platform_id) == quote(platform_id, safe=":")
    assert accepted > 100


def test_platform() -> None:
    """The platform is what stands before the first dash, lower case."""
    assert [platform_of(platform_id) for platform_id in ("telegram--1001", "LinkedIn-A-b", "x")] == ["telegram", "linkedin", "x"]


def test_same() -> None:
    """The platform's case is free, the account part's is not."""
    assert same_id("LinkedIn-Ab1", "linkedin-Ab1")
    assert not same_id("linkedin-ab1", "linkedin-Ab1")
    assert not same_id("linkedin", "linkedin-")


def test_user_id() -> None:
    """A managed user's id is 24 hexadecimal digits and nothing else."""
    assert user_id_problem("6626a1f5e4b0c91a2d3f4567") is None
    assert all(user_id_problem(bad) for bad in ("", "6626a1f5e4b0c91a2d3f456", "6626a1f5e4b0c91a2d3f4567\n", "x" * 24))
