"""
structlog set-up: one line per event to stderr, coloured for people on a terminal, JSON elsewhere; no secret passes.

Event names are `noun.past_participle`. The last processor before rendering redacts every text: the secrets that this process
knows, in every form they may take, and anything that looks like one. Uncaught exceptions and the standard library's log go the same way.

structlog is imported for the first event, since a verb that reads the database logs none and should start fast.

Source: reliability.md F46, F54, 4.4.
"""

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterable
from logging.handlers import QueueHandler, QueueListener
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from monitor.errors import Problem
from monitor.redaction import Redactor

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_NOISY = ("apscheduler", "aiohttp", "alembic", "sqlalchemy", "asyncio")
_QUEUED_LINES = 5000

DROPPED = "log.dropped"
"""The event that reports dropped lines."""

_CLOSE_SECONDS = 2.0

_PRIORITY_INFO = 6
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: _PRIORITY_INFO, logging.DEBUG: 7}
"""Level to syslog priority. Source: sd-daemon(3), "prefixed with a priority"."""

_redactor = Redactor()


class _Logger:
    """structlog's logger of one module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(_structlog().get_logger(self._name), name)


def get_logger(name: str) -> Any:
    """The logger of the module *name*."""
    return _Logger(name)


class _Unconfigured(logging.Handler):
    """Configures the log for the first record."""

    def __init__(self, level: str, log_format: str) -> None:
        super().__init__()
        self._settings = (level, log_format)

    def set_up(self) -> None:
        """Configure the log."""
        level, log_format = self._settings
        configure(level=level, log_format=log_format)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand *record* to the configured log."""
        self.set_up()
        logging.getLogger(record.name).handle(record)


def configure_on_use(*, level: str, log_format: str) -> None:
    """As `configure` on stderr, at the first event, record or uncaught exception."""
    _catch_all(_Unconfigured(level, log_format), level)


def _structlog() -> Any:
    import structlog  # noqa: PLC0415 - see the module's text

    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Unconfigured):
            handler.set_up()
    return structlog


def _catch_all(handler: logging.Handler, level: str) -> None:
    """Send the standard library's log, warnings and uncaught exceptions to *handler*."""
    root = logging.getLogger()
    for former in [former for former in root.handlers if isinstance(former, LogHandler)]:
        former.close()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def register_secrets(secrets: Iterable[str]) -> None:
    """Redact *secrets* from now on, besides those that were registered before."""
    _redactor.learn(secrets)


def configure(*, level: str, log_format: str, stream: TextIO | None = None, journal_stream: str = "") -> "LogHandler":
    """
    Send structlog, the standard library's log and uncaught exceptions to *stream* (stderr).

    Args:
        log_format: `json`, `console`, or `auto` for console on a terminal.
        stream: where to write; stderr unless given.
        journal_stream: `$JOURNAL_STREAM`; if that is *stream*, each line starts with its priority.

    Returns:
        The handler; closing it writes what is queued.
    """
    import structlog  # noqa: PLC0415 - see the module's text

    out = stream if stream is not None else sys.stderr
    journal = is_journal(out, journal_stream)
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Without local variables: they hold keys. And before the redactor, which must see the text of the traceback.
    rendering: list[Processor] = [structlog.processors.format_exc_info, _redacted, _level_first, _renderer(out, console=console)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = LogHandler(out, journal=journal)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    _catch_all(handler, level)
    return handler


class LogHandler(QueueHandler):
    """
    Hands formatted lines to a thread that writes them to *stream*; logging never waits for a reader of the stream.

    Args:
        journal: whether *stream* is read by systemd's journal, which takes each line's priority from a prefix.
        lines: how many lines may wait.

    Attributes:
        dropped: how many lines were not written since that was last reported.
    """

    def __init__(self, stream: TextIO, *, journal: bool = False, lines: int = _QUEUED_LINES) -> None:
        waiting: queue.Queue[Any] = queue.Queue(lines)
        super().__init__(waiting)
        self.dropped = 0
        self._writer = _Writer(waiting, stream, self, journal=journal)
        self._writer.start()
        self._closed = False

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue *record*, or count it as dropped."""
        try:
            super().enqueue(record)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued, within two seconds; idempotent."""
        if not self._closed:
            self._closed = True
            # The listener waits for its thread, which waits for the stream.
            stopping = threading.Thread(target=self._writer.stop, name="log-stop", daemon=True)
            stopping.start()
            stopping.join(_CLOSE_SECONDS)
        super().close()


class _Writer(QueueListener):
    """Writes lines in a thread, and how many were dropped as soon as the queue is empty again; logging's own handlers have locks."""

    def __init__(self, waiting: queue.Queue[Any], stream: TextIO, source: LogHandler, *, journal: bool) -> None:
        super().__init__(waiting)
        self._journal = journal
        self._waiting = waiting
        self._stream = stream
        self._source = source

    def enqueue_sentinel(self) -> None:
        """Queue the end; waits for room."""
        self._waiting.put(self._sentinel)  # type: ignore[attr-defined]

    def handle(self, record: logging.LogRecord) -> None:
        """Write the line of *record*."""
        self._write(record.getMessage(), record.levelno)
        if self._source.dropped and self._waiting.empty():
            dropped, self._source.dropped = self._source.dropped, 0
            self._write(json.dumps({"level": "warning", "event": DROPPED, "lines": dropped}), logging.WARNING)

    def _write(self, text: str, level: int) -> None:
        prefix = f"<{_PRIORITIES.get(level, _PRIORITY_INFO)}>" if self._journal else ""
        try:
            self._stream.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
            self._stream.flush()
        except (OSError, ValueError):  # the other end is closed
            self._source.dropped += 1


def log_config_warnings(problems: Iterable[Problem]) -> None:
    """Log what is valid but probably not meant."""
    for problem in problems:
        get_logger(__name__).warning("config.warning", location=problem.location, problem=problem.message, advice=problem.fix)


def is_journal(stream: TextIO, journal_stream: str) -> bool:
    """
    Whether *stream* is the connection to the journal that *journal_stream* (`device:inode`) names.

    Source: systemd.exec(5), "$JOURNAL_STREAM".
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _level_first(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Level and event in front, where a person looks for them."""
    return {"level": event.pop("level", ""), "event": event.pop("event", ""), **event}


def _redacted(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    return {key: _redactor.redacted(value) for key, value in event.items()}


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an exception that Python would print with the secrets in its text."""
    get_logger(__name__).critical("process.crashed", exc_info=(kind, error, trace))


def _uncaught_in_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        _uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)


def _renderer(out: TextIO, *, console: bool) -> "Processor":
    import structlog  # noqa: PLC0415 - see the module's text

    if not console:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
