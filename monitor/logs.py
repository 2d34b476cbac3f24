"""
One line per change, to stderr: coloured for people on a terminal, JSON elsewhere. Secrets cannot pass.

Event names are `noun.past_participle`. The last processor before rendering redacts every text: the secrets that
this process knows, and anything that looks like one.
"""

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from monitor.domain.text import redact
from monitor.errors import Problem

_NOISY = ("apscheduler", "httpx", "httpcore", "aiohttp", "alembic", "sqlalchemy", "asyncio")


class Redactor:
    """Replaces known secrets, and what looks like one, in every text of a log line."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """Redact *secrets* literally from now on; too short ones would blank ordinary words and are left to the patterns."""
        self._known = tuple(sorted({secret for secret in secrets if len(secret) >= 8}, key=len, reverse=True))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The event with every text redacted."""
        return {key: self._redacted(value) for key, value in event.items()}

    def _redacted(self, value: object) -> object:
        if isinstance(value, (bool, int, float)) or value is None:
            return value
        if isinstance(value, dict):
            return {key: self._redacted(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._redacted(item) for item in value]
        text = str(value)
        for secret in self._known:
            text = text.replace(secret, "<secret>")
        return redact(text)


def configure(*, level: str, log_format: str, stream: TextIO | None = None) -> Redactor:
    """
    Send structlog and the standard library's log the same way, to *stream* (stderr).

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: `json`, `console`, or `auto` for console on a terminal.
        stream: where to write; stderr unless told otherwise.
    """
    out = stream if stream is not None else sys.stderr
    redactor = Redactor()
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Without local variables: they hold keys. And before the redactor, which must see the text of the traceback.
    rendering: list[Processor] = [structlog.processors.format_exc_info, redactor, _renderer(out, console=console)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return redactor


def warn_of(problems: Iterable[Problem]) -> None:
    """Log what works but is probably not meant."""
    for problem in problems:
        structlog.get_logger(__name__).warning("config.doubtful", location=problem.location, problem=problem.message, advice=problem.fix)


def _renderer(out: TextIO, *, console: bool) -> Processor:
    if not console:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
