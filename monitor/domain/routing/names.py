"""Names in place of ids: what the words of people mean in matchers."""

from collections.abc import Mapping, Sequence

Aliases = Mapping[str, Mapping[str, Sequence[str]]]
"""Name of a matcher to names of what it matches, each with the ids that have it."""


def resolved(match: Mapping[str, str], aliases: Aliases) -> dict[str, str]:
    """
    Return *match* with ids in place of names.

    A choice that ends in `*` matches ids and names; anything else that is no name stays as it is.
    """
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
