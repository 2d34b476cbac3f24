"""The words that people read in tables, and what they stand for in commands."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.config.problems import nearest
from monitor.domain.connections import Connection, same_id
from monitor.domain.routing.names import resolved
from monitor.domain.routing.rules import connection_facts, matches_pattern

_SHOWN = 5


class NameProblem(ValueError):
    """A word that stands for nothing known, or for several things. Says what to write instead."""


@dataclass(frozen=True, slots=True)
class Directory:
    """
    Everything that is known by a name, for resolving the words that people read in tables and write in commands.

    Attributes:
        names: connection id to the names that it has: the configured one, and those of the API.
        labels: names of labels in the configuration.
    """

    connections: Sequence[Connection]
    names: Mapping[int, Collection[str]]
    users: Mapping[str, str]
    accounts: Collection[str]
    labels: Collection[str] = ()

    def meanings(self, word: str) -> list[dict[str, str]]:
        """Everything that *word* stands for, as matchers: an account, a platform, a managed user (with its account or alone), a connection."""
        platforms = {connection.platform for connection in self.connections}
        found = [{"account": word}] if word in self.accounts else []
        found += [{"platform": word.lower()}] if word.lower() in platforms else []
        found += [{"user": user_id} for user_id, name in self._users().items() if word in (user_id, name)]
        account, slash, user = word.partition("/")
        if slash and account in self.accounts:
            found += [{"account": account, "user": user_id} for user_id, name in self._users().items() if user in (user_id, name)]
        found += [
            self._match_of(connection)
            for connection in self.connections
            if word in self.names.get(connection.id, ()) or same_id(connection.platform_id, word)
        ]
        return found

    def meaning(self, word: str) -> dict[str, str]:
        """What *word* stands for; raises NameProblem when it is unknown or ambiguous."""
        found = self.meanings(word)
        if len(found) > 1:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            shown = [" ".join(f"{name}={value}" for name, value in match.items()) for match in found[:_SHOWN]]
            raise NameProblem(f"{word} is ambiguous; write one of: {', '.join(shown)}{more}")
        if not found:
            close = nearest(word, self.words())
            raise NameProblem(f"nothing is called {word}" + (f"; did you mean {close}?" if close is not None else ""))
        return found[0]

    def resolved(self, match: Mapping[str, str]) -> dict[str, str]:
        """*match* with ids in place of names; raises NameProblem for a name that several connections have."""
        ids: dict[str, dict[str, None]] = {}
        for connection in self.connections:
            for name in self.names.get(connection.id, ()):
                ids.setdefault(name, {})[connection.platform_id] = None
        for choice in map(str.strip, match.get("connection", "").split("|")):
            if len(ids.get(choice, ())) > 1:
                raise NameProblem(f"{len(ids[choice])} connections are called {choice}; write their ids: {'|'.join(ids[choice])}")
        users: dict[str, list[str]] = {}
        for user_id, name in self._users().items():
            users.setdefault(name, []).append(user_id)
        return resolved(match, {"user": users, "connection": {name: list(found) for name, found in ids.items()}})

    def unknown(self, match: Mapping[str, str]) -> Iterator[str]:
        """Why matchers of *match* match none of the connections, each with the nearest right value."""
        for name, pattern in match.items():
            known = {
                value
                for connection in self.connections
                if (value := connection_facts(connection).get(name, connection.labels.get(name))) is not None
            }
            if known and any(matches_pattern(pattern, value) for value in known):
                continue
            words = sorted(known | set(self._users().values() if name == "user" else ()))
            close = nearest(pattern, words)
            yield f"no connection has {name} {pattern or 'empty'}" + (f", did you mean {close}?" if close is not None else "")

    def _users(self) -> dict[str, str]:
        """Managed users by id, those without a configured name too."""
        return {**{connection.user_id: connection.user_id for connection in self.connections if connection.user_id}, **self.users}

    def _match_of(self, connection: Connection) -> dict[str, str]:
        """The matchers of one connection: its id, with account and user where others have the same id."""
        match = {"connection": connection.platform_id}
        if sum(other.platform_id == connection.platform_id for other in self.connections) > 1:
            match = {"account": connection.account, "user": connection.user_id} | match
        return match

    def words(self) -> list[str]:
        """Every word that stands for something."""
        words = {*self.accounts, *self._users().values()}
        for connection in self.connections:
            words |= {connection.platform, connection.platform_id, *self.names.get(connection.id, ())}
        return sorted(words)
