"""What completion offers of the database and the configuration; called by the scripts of `completion`, and no verb."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence

from monitor.cli.options import load_config
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.db import notified_key, read_connections, read_meta, read_open_incidents, reading, silences_since
from monitor.domain.events import incident_key
from monitor.domain.silencing.silences import SilenceState


def run(words: Sequence[str]) -> int:
    """Print the candidates of one kind, a line each; nothing, in silence, when they cannot be read. Returns 0."""
    try:
        lines = sorted(set(_KINDS[words[0]](load_config(Namespace(config=None)))))
    except Exception:  # noqa: BLE001 - a person is typing: whatever is wrong, the command itself says it
        return 0
    # A shell would split at a space.
    print("\n".join(line for line in lines if line.isprintable() and " " not in line))
    return 0


def _connections(config: Config) -> Iterator[str]:
    yield from (connection.id for connection in config.connections)
    with reading(config.database.url.reveal()) as reader:
        yield from (connection.platform_id for connection in read_connections(reader))


def _incidents(config: Config) -> Iterator[str]:
    with reading(config.database.url.reveal()) as reader:
        instance = config.monitor.instance or read_meta(reader, "instance_id") or ""
        for view in read_open_incidents(reader):
            yield notified_key(reader, view.incident) or incident_key(view.incident, instance)


def _receivers(config: Config) -> Iterator[str]:
    yield from (receiver.name for receiver in config.receivers)


def _silences(config: Config) -> Iterator[str]:
    now = SystemClock().now()
    with reading(config.database.url.reveal()) as reader:
        yield from (str(silence.id) for silence in silences_since(reader, now) if silence.state(now) is not SilenceState.EXPIRED)


_KINDS: Mapping[str, Callable[[Config], Iterator[str]]] = {
    "connections": _connections,
    "incidents": _incidents,
    "receivers": _receivers,
    "silences": _silences,
}
