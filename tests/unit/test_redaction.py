"""No secret gets through, in whatever form it comes; and lines go their way whether somebody reads them or not."""

import base64
import io
import json
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

import pytest
import structlog

from monitor import logs
from monitor.logs import LogHandler, is_journal
from monitor.redaction import Redactor
from tests import marked
from tests.waiting import eventually_sync

URL = f"https://hooks.example.org/services/{marked.PATH}/x?sign={marked.TOKEN}"
DATABASE = f"postgresql://postgres:{quote(marked.PASSWORD + '/@', safe='')}@127.0.0.1/monitor"
HEADER = f"Basic {base64.b64encode(f'me:{marked.HEADER}'.encode()).decode()}"
SECRETS = (marked.API_KEY, marked.signing(), marked.TOKEN, marked.ROUTING_KEY, URL, DATABASE, HEADER)


@pytest.fixture
def redactor() -> Redactor:
    """Knows every secret."""
    made = Redactor()
    made.learn(SECRETS)
    return made


@pytest.mark.parametrize("secret", SECRETS)
def test_forms(redactor: Redactor, secret: str) -> None:
    """A secret is taken out as it is, percent-encoded, as base64 of itself or of a text around it, and inside of anything."""
    encoded = secret.encode()
    for text in (
        secret, repr(secret), quote(secret), quote(secret, safe=""), quote_plus(secret), base64.b64encode(encoded).decode(),
        base64.b64encode(b"u:" + encoded + b"!").decode(), base64.urlsafe_b64encode(b"x" + encoded).decode(),
    ):  # fmt: skip
        for value in (text, f"before {text} after", {"a": [text, (text,)]}, ValueError(text), text.encode()):
            assert marked.disguises_in(str(redactor.redacted(value)).encode()) == [], (secret, value)


@pytest.mark.parametrize(
    "text",
    [
        f"can't reach /services/{marked.PATH}/x?sign={marked.TOKEN}",
        f"404 for {marked.PATH}",
        f"password {marked.PASSWORD}/@ is wrong",
        f"header {marked.API_KEY[:16]}... is illegal",
        f"key {marked.ROUTING_KEY[:18]}",
        f"me:{marked.HEADER}",
    ],
)
def test_parts(redactor: Redactor, text: str) -> None:
    """So are the telling parts of an address, and the beginning of a key that a library has cut short."""
    redactor.learn([marked.HEADER])
    assert marked.disguises_in(str(redactor.redacted(text)).encode()) == []


def test_the_rest_stays(redactor: Redactor) -> None:
    """Everything else stays readable: numbers, flags, files, the names of databases and hosts."""
    redactor.learn(["sqlite:////var/lib/postpost-monitor/monitor.db", "https://events.pagerduty.com/v2/enqueue", "short"])
    said = {
        "a": 1,
        "b": True,
        "c": None,
        "d": 'File "/opt/postpost-monitor/lib/monitor/app.py", line 3',
        "e": "short of memory",
        "f": "hooks.example.org",
    }
    assert redactor.redacted(said) == said


def test_former_secrets(redactor: Redactor) -> None:
    """After a rotation the former secret is as little to be seen as the new one."""
    redactor.learn([marked.SECOND_API_KEY])
    assert marked.disguises_in(str(redactor.redacted(f"{marked.API_KEY} {marked.SECOND_API_KEY}")).encode()) == []


@contextmanager
def logging_to() -> Iterator[io.StringIO]:
    """The log of a process that knows every secret; logging is as before afterwards."""
    root, hooks, config = logging.getLogger(), (sys.excepthook, threading.excepthook), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    # Another test may have left it on; a second call would change nothing then.
    logging.captureWarnings(capture=False)
    logs.register_secrets(SECRETS)
    handler = logs.configure(level="debug", log_format="json", stream=out)
    yield out
    handler.close()
    logging.captureWarnings(capture=False)
    root.handlers[:], sys.excepthook, threading.excepthook = handlers, *hooks
    root.setLevel(level)
    structlog.configure(**config)


def _fail(secret: str) -> None:
    key = secret
    raise RuntimeError(f"Illegal header value {key!r}")


def _lines(stream: io.StringIO, count: int) -> list[dict[str, object]]:
    eventually_sync(lambda: stream.getvalue().count("\n") >= count, what=f"{count} lines")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_way_into_the_log() -> None:
    """Our log, a library's, tracebacks, warnings, errors that nobody catches in a thread or in the process: one JSON line each, without a secret."""
    with logging_to() as stream:
        secret = marked.API_KEY
        structlog.get_logger("x").debug("it.happened", key=secret, nested={"url": URL})
        logging.getLogger("library").warning("told %s at %s", secret, URL)
        try:
            _fail(secret)
        except RuntimeError as error:
            structlog.get_logger("x").error("it.failed", exc_info=error)
            sys.excepthook(type(error), error, error.__traceback__)
        thread = threading.Thread(target=_fail, args=(URL,))
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"deprecated: {DATABASE}", DeprecationWarning, stacklevel=1)
        lines = _lines(stream, 6)
        assert [line["level"] for line in lines] == ["debug", "warning", "error", "critical", "critical", "warning"]
        assert sum("Traceback" in str(line.get("exception")) for line in lines) == 3
        assert marked.disguises_in(stream.getvalue().encode()) == []


def test_nobody_reads() -> None:
    """While nobody takes the lines, logging does not wait; later the reader gets what fitted in, and the number of those that did not."""
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    with open(writing, "w", encoding="utf-8") as pipe, open(reading, encoding="utf-8") as reader:  # noqa: PTH123 - a pipe has no path
        handler = LogHandler(pipe, lines=100)
        for number in range(5000):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, f"{number} {'.' * 1000}", (), None))
        assert handler.dropped > 1000
        found = []
        while "log.dropped" not in (line := reader.readline()):
            found.append(int(line.split()[0]))
        assert found == sorted(set(found))
        assert json.loads(line)["lines"] + len(found) == 5000
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "after", (), None))
        assert reader.readline() == "after\n"
        handler.close()


def test_journal() -> None:
    """Systemd's journal gets each line with its priority, another reader without; level and event come first."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as pipe, open(reading, encoding="utf-8") as reader:  # noqa: PTH123 - a pipe has no path
        status = os.fstat(writing)
        assert is_journal(pipe, f"{status.st_dev}:{status.st_ino}")
        assert not is_journal(pipe, f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal(pipe, "")
        handler = LogHandler(pipe, journal=True)
        for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
            handler.handle(logging.LogRecord("x", level, "", 0, "first\nsecond", (), None))
        handler.close()
        lines = [reader.readline() for _ in range(10)]
    assert lines == [f"<{priority}>{text}\n" for priority in (2, 3, 4, 6, 7) for text in ("first", "second")]


def test_order_of_fields() -> None:
    """A JSON line starts with the level and the event."""
    with logging_to() as stream:
        structlog.get_logger("x").warning("it.happened", account="main")
        assert list(_lines(stream, 1)[0])[:2] == ["level", "event"]


def _drain(reading: int) -> None:
    while os.read(reading, 65_536):
        pass


def test_closing_while_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing gives up on a stream that takes nothing; so does the end of the program."""
    monkeypatch.setattr(logs, "_CLOSE_SECONDS", 0.05)
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w", encoding="utf-8") as pipe:  # noqa: PTH123 - a pipe has no path
        handler = LogHandler(pipe, lines=100)
        for _ in range(1000):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "." * 1000, (), None))
        assert handler.dropped > 0
        handler.close()
        logging.shutdown([weakref.ref(handler)])
        threading.Thread(target=_drain, args=(reading,), daemon=True).start()
        eventually_sync(lambda: all(thread.name != "log-stop" for thread in threading.enumerate()), what="the end of the writer")


def test_the_end() -> None:
    """Closing writes what is left; to a stream that is closed nothing can be written, and nobody waits or falls."""
    out = io.StringIO()
    handler = LogHandler(out)
    for number in range(500):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, str(number), (), None))
    handler.close()
    handler.close()
    assert out.getvalue().split() == [str(number) for number in range(500)]
    broken = LogHandler(out)
    out.close()
    broken.handle(logging.LogRecord("x", logging.INFO, "", 0, "lost", (), None))
    broken.close()
    assert broken.dropped >= 1
