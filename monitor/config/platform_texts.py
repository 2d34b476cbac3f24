"""The table of platform texts: the configuration's entries first, then those of the packaged data file."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any

from monitor.config.sections.policy import PolicySettings
from monitor.domain.replies.platform_texts import PlatformText, PlatformTexts, code_pattern, words_pattern
from monitor.errors import Reason

_FILE = "platform_texts.toml"


def platform_texts_of(settings: PolicySettings) -> PlatformTexts:
    """The table that *settings* ask for."""
    given = settings.platform_texts
    if not given:
        return _built_in_table()
    own = [PlatformText((text.platform,), (text.message,), Reason(text.reason)) for text in given]
    return PlatformTexts(chain(own, _built_in()))


@cache
def _built_in_table() -> PlatformTexts:
    return PlatformTexts(_built_in())


def _built_in() -> Iterator[PlatformText]:
    # A generator: the file is read when the first text is looked up.
    yield from built_in_texts()


@cache
def built_in_texts() -> tuple[PlatformText, ...]:
    """The entries of the packaged data file, in its order. Raises ValueError: an entry is not valid."""
    import tomllib  # noqa: PLC0415 - verbs that judge no check do without

    document = tomllib.loads(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    return tuple(_entry(**entry) for entry in document["entry"])


def _entry(
    platforms: list[str], reason: str, texts: Iterable[str] = (), codes: Iterable[int | str] = (), *, weak: bool = False
) -> PlatformText:
    numbers = [number for code in codes for number in _numbers(code)]
    return PlatformText(tuple(platforms), (*map(words_pattern, texts), *([code_pattern(numbers)] if numbers else [])), Reason(reason), weak)


def _numbers(code: Any) -> Iterable[int]:
    first, _, last = str(code).partition("-")
    return range(int(first), int(last or first) + 1)
