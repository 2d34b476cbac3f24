"""What the simulated API answers, document by document."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.simulator.platforms import Generation
from monitor.simulator.presets import DEMO_USERS, demo_world, fleet
from monitor.simulator.responses import list_document, token_text, users_document, verdict_document
from monitor.simulator.state import SimulatedApi, SimulatedRounding
from tests.clock import FakeClock

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LINKEDIN = "linkedin-Tz9W5i6ZYG"
FACEBOOK = "facebook-104857600123"
THREADS = "threads-17841412345678"


@pytest.fixture(name="world")
def _world() -> SimulatedApi:
    return demo_world(FakeClock(START))


def _test(world: SimulatedApi, platform_id: str) -> dict[str, Any]:
    return verdict_document(world, world.connection(platform_id, account="main"))


def _row(world: SimulatedApi, platform_id: str) -> dict[str, Any]:
    rows = list_document(world, world.accounts["main"].owner.connections)["connections"]
    return next(row for row in rows if row["platformId"] == platform_id)


def test_ok_as_documented(world: SimulatedApi) -> None:
    """A working connection answers with exactly the documented fields and values."""
    assert _test(world, LINKEDIN) == {
        "platform": "linkedin",
        "platformId": LINKEDIN,
        "username": "John Doe",
        "status": "ok",
        "message": "Connected as John Doe",
        "permissions": ["w_member_social", "w_member_social_feed", "r_basicprofile", "r_member_postAnalytics", "r_member_profileAnalytics"],
        "tokenExpiresIn": "45d 3h",
        "lastSuccessfulPost": "2029-12-30T22:00:00.000Z",
        "lastError": None,
    }


def test_error_as_documented(world: SimulatedApi) -> None:
    """An expired token answers with the platform's own text, no permissions and `expired`; a posting error is a field of its own."""
    connection = world.connection(THREADS)
    connection.expire()
    connection.post_failed("Session has expired")

    document = _test(world, THREADS)
    assert (document["status"], document["message"]) == ("error", "Error validating access token: Session has expired")
    assert (document["permissions"], document["tokenExpiresIn"]) == ([], "expired")
    assert document["lastError"] == {"message": "Session has expired", "occurredAt": "2030-01-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("platform_id", "generation", "message"),
    [
        ("pinterest-abc123", Generation.MARCH, "Unknown platform: pinterest"),
        ("pinterest-abc123", Generation.SEPTEMBER, "Unknown platform: pinterest"),
        ("telegram-1234567890", Generation.MARCH, "Invalid bot token"),
        ("telegram-1234567890", Generation.SEPTEMBER, "Invalid bot connection"),
        ("bluesky-did:plc:ewvi7nxzyoun6zhxrhs64oiz", Generation.MARCH, "Missing credentials: accessToken and username are required"),
    ],
)
def test_lies(world: SimulatedApi, platform_id: str, generation: Generation, message: str) -> None:
    """What the validator cannot test fails with its misleading text although nothing is broken."""
    world.generation = generation

    document = _test(world, platform_id)
    assert (document["status"], document["message"], document["permissions"]) == ("error", message, [])


def test_bot_is_tested(world: SimulatedApi) -> None:
    """A Telegram bot passes, with the text of its generation, and fails for real when broken."""
    bot = "telegram--1001234567890"
    assert _test(world, bot)["message"] == "Connected as @your_bot"
    world.generation = Generation.SEPTEMBER
    assert _test(world, bot)["message"] == "Bot can post to @your_bot"
    world.connection(bot).fail()
    assert _test(world, bot)["message"] == "Request failed with status code 401"


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (7 * DAY, "7d 0h"),
        (7 * DAY - timedelta(seconds=1), "6d 23h"),
        (DAY, "1d 0h"),
        (DAY - timedelta(microseconds=1), "23h"),
        (HOUR, "1h"),
        (HOUR - timedelta(microseconds=1), "< 1h"),
        (timedelta(microseconds=1), "< 1h"),
        (timedelta(), "expired"),
        (-DAY, "expired"),
        (82 * DAY + 4 * HOUR, "82d 4h"),
    ],
)
def test_token_texts(left: timedelta, text: str) -> None:
    """Hours left are floored and printed in the documented forms, exact at every boundary."""
    assert token_text(left) == text


def test_token_rounding() -> None:
    """The rounding can be switched, and days alone can be printed."""
    left = 2 * DAY + timedelta(minutes=40)
    assert [token_text(left, rounding) for rounding in SimulatedRounding] == ["2d 0h", "2d 1h", "2d 1h"]
    assert token_text(timedelta(minutes=20), SimulatedRounding.NEAREST) == "< 1h"
    assert token_text(29 * DAY + 5 * HOUR, day_texts=True) == "29 days"
    assert token_text(5 * HOUR, day_texts=True) == "5h"


def test_clock_runs_the_token_down(world: SimulatedApi) -> None:
    """Moving the clock moves the token towards its end, past it the platform rejects it, and renewing heals it."""
    world.clock.move(45 * DAY)
    assert _test(world, LINKEDIN)["tokenExpiresIn"] == "3h"
    assert _row(world, LINKEDIN)["tokenStatus"] == "expiring_soon"
    world.clock.move(4 * HOUR)
    assert _test(world, LINKEDIN)["status"] == "error"
    assert _row(world, LINKEDIN)["tokenStatus"] == "expired"

    world.connection(LINKEDIN).renew()
    assert (_test(world, LINKEDIN)["status"], _test(world, LINKEDIN)["tokenExpiresIn"]) == ("ok", "60d 0h")
    assert _row(world, LINKEDIN)["tokenStatus"] == "valid"


@pytest.mark.parametrize(
    ("platform_id", "march", "september"),
    [
        ("twitter-783214", ("unknown", None), ("valid", None)),
        ("mastodon-109876543210", ("unknown", None), ("valid", None)),
        ("facebook-104857600123", ("valid", "40d 0h"), ("valid", None)),
        # The old build shows the end of the access token, which is past while all is well.
        ("tiktok--0a1B2c3D4e5F6g7", ("valid", "expired"), ("valid", "120d 0h")),
        ("youtube-UCa-1_b2C3d4E5f6G7h8I9jK", ("valid", "expired"), ("valid", None)),
        ("bluesky-did:plc:ewvi7nxzyoun6zhxrhs64oiz", ("unknown", None), ("valid", None)),
    ],
)
def test_rows_by_generation(
    world: SimulatedApi, platform_id: str, march: tuple[str, str | None], september: tuple[str, str | None]
) -> None:
    """Each generation shows the token's end and status of each platform by its own rules."""
    for generation, expected in ((Generation.MARCH, march), (Generation.SEPTEMBER, september)):
        world.generation = generation
        row = _row(world, platform_id)
        assert (row["tokenStatus"], row["tokenExpiresIn"]) == expected
        assert (row["accessTokenExpiresAt"] is None) == (row["tokenExpiresIn"] is None)


@pytest.mark.parametrize("generation", list(Generation))
def test_every_platform_can_expire(world: SimulatedApi, generation: Generation) -> None:
    """Told to expire, a connection fails in both generations, whether or not its end is shown; renewed, it works."""
    world.generation = generation
    testable = [it for it in world.accounts["main"].owner.connections.values() if verdict_document(world, it)["status"] == "ok"]
    assert len(testable) == 9
    for connection in testable:
        connection.expire()
        assert verdict_document(world, connection)["status"] == "error"
        connection.renew()
        assert verdict_document(world, connection)["status"] == "ok"


def test_rules_of_generations(world: SimulatedApi) -> None:
    """
    Facebook renews a token in time; the list warns at less than seven days, of TikTok at less than thirty in September, when
    flags show and rows of X have one key more; a vanished connection is not listed.
    """
    world.clock.move(36 * DAY)
    assert _test(world, FACEBOOK)["tokenExpiresIn"] == "59d 0h"
    world.connection(LINKEDIN).expire_in(7 * DAY)
    assert _row(world, LINKEDIN)["tokenStatus"] == "valid"
    world.clock.move(timedelta(seconds=1))
    assert _row(world, LINKEDIN)["tokenStatus"] == "expiring_soon"
    world.connection(FACEBOOK).flagged = True
    assert _row(world, FACEBOOK)["tokenStatus"] == "valid"
    assert "subscriptionType" not in _row(world, "twitter-783214")

    world.generation = Generation.SEPTEMBER
    world.connection("tiktok--0a1B2c3D4e5F6g7").expire_in(25 * DAY)
    assert _row(world, "tiktok--0a1B2c3D4e5F6g7")["tokenStatus"] == "expiring_soon"
    assert _row(world, FACEBOOK)["tokenStatus"] == "expired"
    assert "subscriptionType" in _row(world, "twitter-783214")
    world.connection(FACEBOOK).vanish()
    assert FACEBOOK not in {row["platformId"] for row in list_document(world, world.accounts["main"].owner.connections)["connections"]}


def test_users(world: SimulatedApi) -> None:
    """The workspace list has no `success`, names attached users only, and carries the secret link that must not be kept."""
    agency = world.accounts["agency"]
    document = users_document(agency)
    assert list(document) == ["users"]
    assert [user["_id"] for user in document["users"]] == list(DEMO_USERS)
    assert "secret" in document["users"][0]["connectionsPageUrl"]
    agency.users[DEMO_USERS[0]].attached = False
    assert [user["_id"] for user in users_document(agency)["users"]] == [DEMO_USERS[1]]


def test_fleet() -> None:
    """A fleet has as many healthy connections as wanted, the same for the same seed, all ok for two weeks."""
    world = fleet(2000, seed=7, clock=FakeClock(START))
    same = fleet(2000, seed=7, clock=FakeClock(START))
    other = fleet(2000, seed=8, clock=FakeClock(START))
    ids = [it.platform_id for _, _, it in world.every()]

    assert len(set(ids)) == 2000
    assert ids == [it.platform_id for _, _, it in same.every()]
    assert ids != [it.platform_id for _, _, it in other.every()]
    world.clock.move(14 * DAY)
    assert {verdict_document(world, it)["status"] for _, _, it in world.every() if it.platform != "bluesky"} == {"ok"}


def test_reset(world: SimulatedApi) -> None:
    """A reset makes the world what it was, clock included."""
    world.connection(LINKEDIN).fail("no")
    world.accounts["main"].revoke()
    world.clock.move(5 * DAY)
    world.reset()
    assert _test(world, LINKEDIN)["tokenExpiresIn"] == "45d 3h"
    assert world.clock.now() == START
