"""Commands to copy."""

import shlex
from dataclasses import dataclass

from monitor.domain.connections import Connection
from monitor.domain.reasons import Scope
from monitor.domain.routing.rules import scope_facts

_PROGRAM = "postpost-monitor"
_SILENCE_FOR = "2h"
_SEEN = "looking into it"


@dataclass(frozen=True, slots=True)
class Command:
    """A command and its purpose."""

    purpose: str
    line: str


def acknowledge(key: str) -> Command:
    """Stops the reminders of one incident."""
    return _command("Acknowledge: no more reminders", "ack", key, "--reason", _SEEN)


def silence_connection(connection: Connection) -> Command:
    """Suppresses the notifications of one connection."""
    match = [f"connection={connection.platform_id}", f"account={connection.account}"]
    if connection.user_id:
        match.append(f"user={connection.user_id}")
    return _silence(*match)


def silence_scope(scope: Scope, subject: str) -> Command:
    """Suppresses the notifications of a scope."""
    match = [f"scope={scope.value}", *(f"{name}={value}" for name, value in scope_facts(subject).items() if value)]
    return _silence(*match)


def expire_silence(number: int) -> Command:
    """Ends a silence."""
    return _command("End it: pending notifications are sent", "silence", "expire", str(number))


def explain(connection: Connection) -> Command:
    """Explains the status and the notifications of one connection."""
    return _command("Explain its status and its notifications", "explain", connection.platform_id, "--account", connection.account_label)


def check(connection: Connection) -> Command:
    """Tests one connection now."""
    return _command("Test it now", "check", connection.platform_id, "--account", connection.account_label)


def _silence(*match: str) -> Command:
    return _command("Silence: no notifications meanwhile", "silence", "add", "--match", *match, "--for", _SILENCE_FOR, "--reason", _SEEN)


def _command(purpose: str, *words: str) -> Command:
    return Command(purpose, shlex.join((_PROGRAM, *words)))
