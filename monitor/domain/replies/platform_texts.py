"""What the error texts of the platforms mean: a table of texts, and the reason that it finds for a message."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from monitor.domain.reasons import Health, meaning
from monitor.errors import Reason

ANY_PLATFORM = "*"

TEXT_REASONS: tuple[Reason, ...] = tuple(reason for reason in Reason if meaning(reason).health is Health.ERROR)
"""The reasons that a platform's error can have."""


@dataclass(frozen=True, slots=True)
class PlatformText:
    """
    Error texts with one meaning.

    Attributes:
        platforms: lower case; `"*"` is any platform.
        patterns: regular expressions; one of them is found in the message, ignoring case.
        weak: an HTTP status in the message says more.

    Raises:
        ValueError: a pattern is not a valid regular expression, or the reason is none of a platform's error.
    """

    platforms: tuple[str, ...]
    patterns: tuple[str, ...]
    reason: Reason
    weak: bool = False

    def __post_init__(self) -> None:
        if self.reason not in TEXT_REASONS:
            raise ValueError(f"{self.reason} is no reason of a platform's error")

    def compiled(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, for a message in lower case."""
        return tuple(_compiled(pattern) for pattern in self.patterns)


class PlatformTexts:
    """A table of error texts; the first entry that matches a message gives its reason. Read and compiled once, at the first failure."""

    def __init__(self, entries: Iterable[PlatformText] = ()) -> None:
        self._given = entries
        self._compiled: dict[str, tuple[tuple[tuple[re.Pattern[str], ...], PlatformText], ...]] = {}

    @cached_property
    def _entries(self) -> tuple[PlatformText, ...]:
        return tuple(self._given)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, platform: str, message: str) -> PlatformText | None:
        """The entry for the error *message* of *platform*; None when the table does not know it."""
        if platform not in self._compiled:
            self._compiled[platform] = tuple(
                (entry.compiled(), entry) for entry in self._entries if platform in entry.platforms or ANY_PLATFORM in entry.platforms
            )
        text = message.casefold()
        for patterns, entry in self._compiled[platform]:
            if any(pattern.search(text) for pattern in patterns):
                return entry
        return None


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        # A pattern without capitals needs no flag; with it, a search costs ten times as much.
        return re.compile(pattern, 0 if pattern == pattern.casefold() else re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a valid regular expression: {error}") from None


NO_PLATFORM_TEXTS = PlatformTexts()


def code_pattern(codes: Iterable[int]) -> str:
    """
    The regular expression for a platform's own error numbers, in the forms in which messages have them.

    These are `(#190)`, `[190]`, `code 190`, `"code":190` and its like with `error_subcode` or `serviceErrorCode`; never an HTTP status.
    """
    numbers = "|".join(str(code) for code in codes)
    named = r"(?<!status)(?<!status[ _])code[\"'\s:=#]{1,4}"
    after_error = r"(?=\s*(?:$|[:,;.)-]))"
    return rf"(?:\(#|\[|{named}|exception[\s:]{{1,2}})(?:{numbers})\b|\berror[\s:#]{{1,2}}(?:{numbers})\b{after_error}"


def words_pattern(pattern: str) -> str:
    """The regular expression for the words of a sentence, and for a code name made of them, such as `access_token_expired`."""
    return re.sub(r"(?<=[a-z0-9)?]) ", "[ _-]?", pattern)  # not after a repetition: the search would take too long
