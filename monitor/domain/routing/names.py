"""Names in place of ids: what the words of people mean in matchers."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from monitor.domain.connections import Connection
from monitor.domain.states import ConnectionState

Aliases = Mapping[str, Mapping[str, Sequence[str]]]
"""Name of a matcher to names of what it matches, each with the ids that have it."""


def resolved(match: Mapping[str, str], aliases: Aliases) -> dict[str, str]:
    """Return *match* with ids in place of names; a choice that ends in `*` matches ids and names."""
    return {name: _resolved_pattern(pattern, aliases[name]) if aliases.get(name) else pattern for name, pattern in match.items()}


def _resolved_pattern(pattern: str, names: Mapping[str, Sequence[str]]) -> str:
    choices: dict[str, None] = {}
    for choice in map(str.strip, pattern.split("|")):
        if choice in names:
            choices |= dict.fromkeys(names[choice])
        else:
            choices[choice] = None
        if choice.endswith("*") and choice != "*":
            choices |= dict.fromkeys(key for name in names if name.startswith(choice[:-1]) for key in names[name])
    return "|".join(choices)


def shown_names(connection: Connection, state: ConnectionState) -> set[str]:
    """Return all names that *connection* is shown with."""
    return {name for name in (connection.name, state.display_name, state.username) if name}


def words_for_connections(matches: Iterable[Mapping[str, str]]) -> frozenset[str]:
    """Return the choices that *matches* have for connections, each of which may be a name; not those that end in `*`."""
    choices = (choice.strip() for match in matches for choice in match.get("connection", "").split("|"))
    return frozenset(choice for choice in choices if choice and not choice.endswith("*"))


def named_connections(words: Collection[str], connections: Iterable[tuple[str, Collection[str]]]) -> dict[str, tuple[str, ...]]:
    """Return the id of the one connection that each of *words* is a name of; ids, and names of several connections, stand for none."""
    found: dict[str, list[str]] = {}
    own: set[str] = set()
    for platform_id, names in connections:
        own.add(platform_id)
        for name in {*names}.intersection(words):
            found.setdefault(name, []).append(platform_id)
    return {name: tuple(ids) for name, ids in found.items() if len(ids) == 1 and name not in own}
