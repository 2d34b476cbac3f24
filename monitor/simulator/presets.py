"""Ready-made states: a small one with a connection of every kind, and fleets of any size."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

from monitor.clock import Clock
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.platforms import PLATFORMS
from monitor.simulator.state import SimulatedApi, SimulatedConnection, SimulatedUser

DEMO_KEY = "sk_mdemo0001_5eed5eed5eed.0ddba11c0ffee"
AGENCY_KEY = "sk_mdemo0002_a6e0c1a6e0c1.0ddba11c0ffee"
DEMO_USERS = ("6626a1f5e4b0c91a2d3f4567", "6626a1f5e4b0c91a2d3f4568")

_BATCH = 10_000
_MIX = tuple(name for name, platform in PLATFORMS.items() for _ in range(platform.weight))
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def demo_world(clock: Clock, *, key: str = DEMO_KEY) -> SimulatedApi:
    """A connection of every kind: account `main` (*key*) owns a dozen, `agency` (`AGENCY_KEY`) manages two users who share one id."""

    def populate(world: SimulatedApi) -> None:
        _populate_main(world.add_account("main", key).owner)
        agency = world.add_account("agency", AGENCY_KEY, workspaces=True)
        for number, user_id in enumerate(DEMO_USERS, start=1):
            user = SimulatedUser(user_id, f"client{number}@example.com", f"Client {number}", world.clock)
            agency.users[user_id] = user
            _connect(user, "linkedin-Shared1234", f"Client {number}", timedelta(days=30 * number))
            _connect(user, f"mastodon-10987654321{number}", f"client{number}")

    return SimulatedApi(ShiftedClock(clock), populate)


def empty_world(clock: Clock, *, key: str = DEMO_KEY) -> SimulatedApi:
    """One account, `main`, without connections."""

    def populate(world: SimulatedApi) -> None:
        world.add_account("main", key, workspaces=True)

    return SimulatedApi(ShiftedClock(clock), populate)


def fleet(
    size: int,
    seed: int = 1,
    *,
    clock: Clock,
    key: str = DEMO_KEY,
    users: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> SimulatedApi:
    """
    *size* healthy connections in a realistic mix of platforms, the same for the same *seed*.

    Args:
        users: how many managed users the connections are spread over; 0 makes them the owner's.
        progress: called with the number of connections, every 10,000.
    """

    def populate(world: SimulatedApi) -> None:
        account = world.add_account("main", key, workspaces=users > 0)
        for number in range(users):
            user_id = f"{0x6626A1F5 + number:024x}"
            account.users[user_id] = SimulatedUser(user_id, f"client{number}@example.com", f"Client {number}", world.clock)
        holders = tuple(account.users.values()) or (account.owner,)
        for number in range(size):
            holders[number % len(holders)].connect(_generated(world, seed, number))
            if (number + 1) % _BATCH == 0:
                progress(number + 1)

    return SimulatedApi(ShiftedClock(clock), populate)


def connection_like(world: SimulatedApi, platform_id: str, username: str | None = None) -> SimulatedConnection:
    """A healthy connection of this id, with the properties of its platform, not linked to a user yet."""
    now = world.clock.now()
    connection = SimulatedConnection(platform_id, world.clock, username=username or platform_id.partition("-")[2])
    connection.display_name = connection.username
    traits = connection.traits
    if traits is not None and traits.life is not None:
        connection.ends_at = now + traits.life
    connection.last_post_at = now - timedelta(hours=5)
    return connection


def _populate_main(owner: SimulatedUser) -> None:
    _connect(owner, "linkedin-Tz9W5i6ZYG", "John Doe", timedelta(days=45, hours=3, minutes=20))
    _connect(owner, "threads-17841412345678", "yourthreads", timedelta(days=21, hours=2))
    _connect(owner, "instagram-17841412345678", "yourgram", timedelta(days=33, hours=7))
    _connect(owner, "facebook-104857600123", "Your Page", timedelta(days=40))
    _connect(owner, "twitter-783214", "@yourhandle")
    _connect(owner, "tiktok--0a1B2c3D4e5F6g7", "yourtok", timedelta(days=120))
    _connect(owner, "youtube-UCa-1_b2C3d4E5f6G7h8I9jK", "Your Channel")
    _connect(owner, "mastodon-109876543210", "yourtoot")
    _connect(owner, "telegram--1001234567890", "@your_bot")
    _connect(owner, "telegram-1234567890", "@you")
    _connect(owner, "bluesky-did:plc:ewvi7nxzyoun6zhxrhs64oiz", "you.bsky.social")
    _connect(owner, "pinterest-abc123", "yourpins")


def _connect(user: SimulatedUser, platform_id: str, username: str, left: timedelta | None = None) -> None:
    now = user.clock.now()
    user.connect(
        SimulatedConnection(
            platform_id,
            user.clock,
            username=username,
            display_name=username,
            ends_at=None if left is None else now + left,
            last_post_at=now - timedelta(hours=26),
        )
    )


def _generated(world: SimulatedApi, seed: int, number: int) -> SimulatedConnection:
    dice = hashlib.blake2b(b"%d/%d" % (seed, number), digest_size=24).digest()
    name = _MIX[dice[0] % len(_MIX)]
    life = PLATFORMS[name].life
    # No token of a new fleet expires soon.
    left = None if life is None else life * (0.3 + 0.7 * int.from_bytes(dice[1:4]) / 0xFFFFFF)
    now = world.clock.now()
    return SimulatedConnection(
        f"{name}-{_account_part(name, dice[4:], number)}",
        world.clock,
        username=f"user{number}",
        display_name=f"User {number}",
        ends_at=None if left is None else now + left,
        last_post_at=now - timedelta(minutes=dice[4] * 60 + dice[5]),
    )


def _account_part(name: str, dice: bytes, number: int) -> str:
    """The part of an id after the first dash, in the platform's format; *number* makes it unique."""
    if name in ("linkedin", "tiktok", "youtube"):
        text = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in dice[:12])
        return {"youtube": "UC"}.get(name, "") + text + str(number)
    if name == "bluesky":
        return f"did:plc:{dice[:8].hex()}{number}"
    prefix = "-100" if name == "telegram" else ""
    return f"{prefix}{int.from_bytes(dice[:5])}{number:06d}"
