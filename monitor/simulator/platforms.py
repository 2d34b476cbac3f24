"""
The platforms behind PostPost: ids, validity of tokens, permissions, and the error of an invalid credential.

Source: `api-contract.md` 3.1 (table of platforms), 3.2 (known false negatives), 3.4 (permissions).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

_SESSION_EXPIRED = "Error validating access token: Session has expired"
_UNAUTHORIZED = "Request failed with status code 401"


class Generation(StrEnum):
    """The build of the API: that of March 2026, or of September 2026."""

    MARCH = "march"
    SEPTEMBER = "september"


@dataclass(frozen=True, slots=True)
class SimulatedBrand:
    """The header names and texts of one brand of the same product; header names in lower case."""

    name: str
    key_header: str
    user_header: str
    client_header: str


POSTPOST = SimulatedBrand("postpost", "x-api-key", "x-postpost-user-id", "x-postpost-client")
PUBLORA = SimulatedBrand("publora", "x-publora-key", "x-publora-user-id", "x-publora-client")
BRANDS: Mapping[str, SimulatedBrand] = {brand.name: brand for brand in (POSTPOST, PUBLORA)}


@dataclass(frozen=True, slots=True)
class Platform:
    """
    The properties of one platform.

    Attributes:
        name: the part of an id before the first dash.
        rejection: error of the test for an invalid credential.
        life: validity of a new token; None when it does not expire.
        renews_below: PostPost renews the token automatically when less than this is left; None: never.
        shows_date: generations whose list and test show when the token expires.
        honest: generations that show the true time. Otherwise it is an artefact, in the past while the connection works.
        status_when_undated: the list's `tokenStatus` when no time is shown, by generation.
        soon: `tokenStatus` turns to `expiring_soon` below this, by generation.
    """

    name: str
    rejection: str = _UNAUTHORIZED
    scopes: tuple[str, ...] = ()
    life: timedelta | None = None
    renews_below: timedelta | None = None
    shows_date: tuple[Generation, ...] = ()
    honest: tuple[Generation, ...] = ()
    status_when_undated: tuple[str, str] = ("unknown", "valid")
    soon: tuple[timedelta, timedelta] = (timedelta(days=7), timedelta(days=7))
    weight: int = 0

    def shows_end(self, generation: Generation) -> bool:
        """Whether list and test of *generation* show when tokens expire."""
        return generation in self.shows_date

    def is_honest(self, generation: Generation) -> bool:
        """Whether the time shown is the true one."""
        return generation in self.honest

    def soon_below(self, generation: Generation) -> timedelta:
        """Below which remaining validity the list says `expiring_soon`."""
        return self.soon[generation is Generation.SEPTEMBER]

    def undated_status(self, generation: Generation) -> str:
        """The list's `tokenStatus` of a working connection when no time is shown."""
        return self.status_when_undated[generation is Generation.SEPTEMBER]


_BOTH = (Generation.MARCH, Generation.SEPTEMBER)
_MARCH = (Generation.MARCH,)

_KNOWN = (
    Platform("twitter", scopes=("tweet.read", "tweet.write", "users.read", "offline.access"), weight=18),
    Platform(
        "linkedin",
        scopes=("w_member_social", "w_member_social_feed", "r_basicprofile", "r_member_postAnalytics", "r_member_profileAnalytics"),
        life=timedelta(days=60),
        shows_date=_BOTH,
        honest=_BOTH,
        weight=22,
    ),
    Platform(
        "instagram",
        _SESSION_EXPIRED,
        ("instagram_business_basic", "instagram_business_content_publish"),
        timedelta(days=60),
        shows_date=_BOTH,
        honest=_BOTH,
        weight=16,
    ),
    Platform(
        "threads",
        _SESSION_EXPIRED,
        ("threads_basic", "threads_content_publish", "threads_manage_replies"),
        timedelta(days=60),
        shows_date=_BOTH,
        honest=_BOTH,
        weight=12,
    ),
    Platform(
        "facebook",
        _SESSION_EXPIRED,
        ("public_profile", "pages_manage_posts", "pages_show_list", "pages_read_engagement", "business_management"),
        timedelta(days=59),
        renews_below=timedelta(days=5),
        shows_date=_MARCH,
        honest=_MARCH,
        weight=14,
    ),
    # March shows when the access token expires: within a day, or in the past while the connection works.
    Platform(
        "tiktok",
        "Access token is invalid or revoked",
        ("user.info.basic", "video.publish"),
        timedelta(days=180),
        shows_date=_BOTH,
        honest=(Generation.SEPTEMBER,),
        soon=(timedelta(), timedelta(days=30)),
        weight=8,
    ),
    Platform(
        "youtube",
        "invalid_grant: Token has been expired or revoked.",
        ("https://www.googleapis.com/auth/youtube.upload",),
        shows_date=_MARCH,
        soon=(timedelta(), timedelta(days=7)),
        weight=6,
    ),
    Platform("mastodon", "The access token was revoked", ("read", "write", "push"), weight=2),
    Platform("telegram", weight=1),
    Platform("bluesky", weight=1),
)
PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _KNOWN}

# How long after the last post the access token that March shows expires.
ARTEFACT_LIVES: Mapping[str, timedelta] = {"tiktok": timedelta(hours=24), "youtube": timedelta(hours=1)}


def platform_of(platform_id: str) -> str:
    """The text before the first dash; the whole id when there is none."""
    return platform_id.partition("-")[0]


def is_mtproto(platform_id: str) -> bool:
    """Whether the id is that of a Telegram MTProto connection: one dash and digits; bots have two dashes."""
    platform, _, account = platform_id.partition("-")
    return platform == "telegram" and account.isdecimal()
