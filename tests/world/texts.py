"""
What platforms say, by cause.

The texts are those of the platforms' documentation and client libraries, as PostPost passes them on. A cause names the reasons
that a message may give for it; they are names, so that a finer reason can be added to the program without a change here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

_META = (
    "Error validating access token: The user has not authorized application 123456789012345.",
    "Error validating access token: The session was invalidated explicitly using an API call.",
    "Invalid OAuth 2.0 Access Token",
)
_META_EXPIRED = (
    (
        "Error validating access token: Session has expired on Tuesday, 01-Jan-30 08:00:00 PST. "
        "The current time is Tuesday, 01-Jan-30 09:12:41 PST."
    ),
)
_META_PASSWORD = (
    (
        "Error validating access token: The session has been invalidated because the user changed their password "
        "or Facebook has changed the session for security reasons."
    ),
)
_META_LIMIT = ("(#4) Application request limit reached", "(#32) Page request limit reached", "(#17) User request limit reached")
_META_TROUBLE = (
    "An unexpected error has occurred. Please retry your request later.",
    "Service temporarily unavailable",
    "Request failed with status code 503",
)


@dataclass(frozen=True, slots=True)
class Cause:
    """
    Why a platform refuses.

    Attributes:
        name: short, for reports.
        reasons: the reasons that name it rightly.
        act: whether a person must act; trouble of the platform clears by itself.
        texts: platform to its texts; `*` for those without their own.
    """

    name: str
    reasons: frozenset[str]
    texts: Mapping[str, tuple[str, ...]]
    act: bool = True

    def text(self, platform: str, random: Random) -> str:
        """One of the texts of *platform*."""
        return random.choice(self.texts.get(platform) or self.texts["*"])

    def on(self, platform: str) -> bool:
        """Whether *platform* has this cause."""
        return platform in self.texts or "*" in self.texts


_CREDENTIAL = frozenset({"credential_rejected"})
_EXPIRED = frozenset({"token_expired", "credential_rejected"})

REVOKED = Cause(
    "revoked",
    _CREDENTIAL,
    {
        "*": ("Request failed with status code 401",),
        "linkedin": ("The token used in the request has been revoked by the user", "Invalid access token"),
        "facebook": _META,
        "instagram": _META,
        "threads": _META,
        "twitter": ("Invalid or expired token.", "Request failed with status code 401", "Unauthorized"),
        "tiktok": ("The access token is invalid or not found in the request.", "Access token is invalid or revoked"),
        "youtube": ("invalid_grant: Token has been expired or revoked.", "Invalid Credentials"),
        "mastodon": ("The access token was revoked", "The access token is invalid"),
        "telegram": ("Unauthorized", "Request failed with status code 401"),
    },
)
PASSWORD = Cause("password changed", _CREDENTIAL, {"facebook": _META_PASSWORD, "instagram": _META_PASSWORD, "threads": _META_PASSWORD})
EXPIRED = Cause(
    "expired",
    _EXPIRED,
    {
        "*": ("Request failed with status code 401",),
        "linkedin": ("The token used in the request has expired",),
        "facebook": _META_EXPIRED,
        "instagram": _META_EXPIRED,
        "threads": _META_EXPIRED,
        "tiktok": ("The refresh token is invalid or expired.",),
    },
)
RIGHTS = Cause(
    "rights lost",
    frozenset({"rights_lost"}),
    {
        "linkedin": ("Not enough permissions to access: POST /rest/posts", "Request failed with status code 403"),
        "facebook": (
            "(#200) The user hasn't authorized the application to perform this action",
            "(#10) Application does not have permission for this action",
        ),
        "instagram": ("(#10) Application does not have permission for this action",),
        "youtube": ("Request had insufficient authentication scopes.",),
        "mastodon": ("This action is outside the authorized scopes",),
        "twitter": ("You are not permitted to perform this action.", "Request failed with status code 403"),
        "telegram": (
            "Bad Request: not enough rights to send text messages to the chat",
            "Bad Request: need administrator rights in the channel chat",
        ),
    },
)
SUSPENDED = Cause(
    "suspended",
    frozenset({"account_restricted"}),
    {
        "twitter": (
            "Your account is suspended and is not permitted to access this feature.",
            (
                "To protect our users from spam and other malicious activity, this account is temporarily locked. "
                "Please log in to https://twitter.com to unlock your account."
            ),
        ),
        "facebook": (
            "Error validating access token: You cannot access the app till you log in to www.facebook.com and follow the instructions given.",
        ),
        "mastodon": ("Your login is currently disabled",),
    },
)
GONE = Cause(
    "target gone",
    frozenset({"target_gone"}),
    {
        "facebook": ("(#803) Some of the aliases you requested do not exist: mypage",),
        "youtube": ("The channel specified in the request cannot be found.",),
        "telegram": ("Bad Request: chat not found",),
        "twitter": ("User not found.",),
    },
)
KICKED = Cause(
    "bot removed",
    frozenset({"bot_removed"}),
    {"telegram": ("Forbidden: bot was kicked from the channel chat", "Forbidden: bot is not a member of the channel chat")},
)
TROUBLE = Cause(
    "platform trouble",
    frozenset({"platform_trouble"}),
    {
        "*": (
            "Request failed with status code 503",
            "Request failed with status code 500",
            "timeout of 10000ms exceeded",
            "read ECONNRESET",
        ),
        "facebook": _META_TROUBLE,
        "instagram": _META_TROUBLE,
        "threads": _META_TROUBLE,
        "twitter": ("Over capacity", "Request failed with status code 503", "Service Unavailable"),
        "youtube": ("The service is currently unavailable.", "Request failed with status code 503"),
        "telegram": ("Bad Gateway", "Internal Server Error"),
    },
    act=False,
)
LIMIT = Cause(
    "platform limit",
    frozenset({"platform_limited"}),
    {
        "*": ("Request failed with status code 429",),
        "linkedin": ("Resource level throttle APPLICATION_AND_MEMBER DAY limit for calls to this resource is reached.",),
        "facebook": _META_LIMIT,
        "instagram": _META_LIMIT,
        "threads": _META_LIMIT,
        "twitter": ("Rate limit exceeded", "Too Many Requests"),
        "youtube": ("The request cannot be completed because you have exceeded your quota.",),
        "tiktok": ("The API rate limit was exceeded. Please try again later.",),
        "telegram": ("Too Many Requests: retry after 35",),
        "mastodon": ("Too many requests",),
    },
    act=False,
)
UNNAMED = Cause("unnamed", frozenset({"validation_failed"}), {"*": ("Something odd happened while validating", "E_VALIDATE_0x17")})

SINGLE = (REVOKED, REVOKED, REVOKED, RIGHTS, SUSPENDED, GONE, KICKED, UNNAMED, PASSWORD)
"""The causes that break one connection, the frequent ones more often."""
