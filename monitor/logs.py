"""
One line per change, to stderr: coloured for people on a terminal, JSON elsewhere. Secrets cannot pass.

Event names are `noun.past_participle`. The last processor before rendering redacts every text: the secrets that
this process knows, in every form they may take, and anything that looks like one. What nobody catches goes the same way.

Source: reliability.md F46, F54, 4.4.
"""

import logging
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from monitor.errors import Problem
from monitor.outlet import Outlet
from monitor.redaction import Redactor

_NOISY = ("apscheduler", "httpx", "httpcore", "aiohttp", "alembic", "sqlalchemy", "asyncio")

_redactor = Redactor()


def register_secrets(secrets: Iterable[str]) -> None:
    """Let none of *secrets* pass from now on, besides those that were learned before."""
    _redactor.learn(secrets)


def configure(*, level: str, log_format: str, stream: TextIO | None = None) -> Outlet:
    """
    Send structlog, the standard library's log and what nobody catches the same way, to *stream* (stderr).

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: `json`, `console`, or `auto` for console on a terminal.
        stream: where to write; stderr unless told otherwise.

    Returns:
        What carries the lines there; closing it writes what is left.
    """
    out = stream if stream is not None else sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Without local variables: they hold keys. And before the redactor, which must see the text of the traceback.
    rendering: list[Processor] = [structlog.processors.format_exc_info, _redacted, _renderer(out, console=console)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    outlet = Outlet(out)
    outlet.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for former in [handler for handler in root.handlers if isinstance(handler, Outlet)]:
        former.close()
    root.handlers[:] = [outlet]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return outlet


def log_config_warnings(problems: Iterable[Problem]) -> None:
    """Log what works but is probably not meant."""
    for problem in problems:
        structlog.get_logger(__name__).warning("config.doubtful", location=problem.location, problem=problem.message, advice=problem.fix)


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _redactor.redacted(value) for key, value in event.items()}


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python would print by itself: with the secrets that are in an error's text."""
    structlog.get_logger(__name__).critical("process.crashed", exc_info=(kind, error, trace))


def _uncaught_in_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        _uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)


def _renderer(out: TextIO, *, console: bool) -> Processor:
    if not console:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
