"""`silence` and `ack` take the words that people read: names, ids, accounts and users; what is ambiguous or covers nothing is refused."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.main import build_parser
from monitor.errors import UsageError
from tests.boot.pasting import blocks_below
from tests.watched import Watched, tell_a_story, watched, write_config

Call = Callable[..., Coroutine[Any, Any, str]]
USER = "65f2a0c4d8e9b1a2c3d4e5f6"
MORE = f"""
users: [{{id: {USER}, name: Acme GmbH, labels: {{customer: acme}}}}, {{id: 65f2a0c4d8e9b1a2c3d4e5f7, name: Left, labels: {{region: north}}}}]
"""
REASON = ("--for", "2h", "--reason", "test")


@pytest.fixture
async def world(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Watched]:
    """A story, with a connection of a named user and two of the same name."""
    path = write_config(tmp_path, sqlite_url)
    more = f"connections:\n  - {{id: x-1, user_id: {USER}, name: Twin}}\n  - {{id: x-2, name: Twin}}\n"
    path.write_text(path.read_text().replace("connections:\n", more) + MORE)
    async with watched(path) as story:
        await tell_a_story(story)
        yield story


@pytest.fixture
def call(world: Watched, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs a verb in a thread; returns what it printed."""

    async def run(*options: str) -> str:
        args = build_parser(options).parse_args([*options, "--config", str(tmp_path / "config.yaml")])
        capsys.readouterr()
        assert await asyncio.to_thread(args.run, args) == 0
        return capsys.readouterr().out

    return run


WORDS: list[tuple[list[str], dict[str, str]]] = [
    (["Company page"], {"account": "main", "user": "", "connection": "linkedin-page1"}),
    (["threads-1784"], {"connection": "threads-1784"}),
    (["Threads-1784"], {"connection": "threads-1784"}),
    (["second"], {"account": "second"}),
    (["LinkedIn"], {"platform": "linkedin"}),
    (["Acme GmbH"], {"user": USER}),
    ([USER], {"user": USER}),
    (["main/Acme GmbH"], {"account": "main", "user": USER}),
    (["account=main/Acme GmbH"], {"account": "main", "user": USER}),
    (["user=Acme GmbH", "severity=info"], {"user": USER, "severity": "info"}),
    (["user=Acme*"], {"user": f"Acme*|{USER}"}),
    (["connection=Company page|threads-1784"], {"connection": "linkedin-page1|threads-1784"}),
    (["customer=acme"], {"customer": "acme"}),
]


async def test_words(call: Call) -> None:
    """A word that `status` prints, or a matcher with one, silences what it stands for."""
    for words, match in WORDS:
        added = json.loads(await call("silence", "add", "--match", *words, *REASON, "--json"))
        assert added["silence"]["match"] == match, words
        assert added["connections"] == added["silence"]["covers"] > 0, words


# What a person puts in place of the examples: this story has no LinkedIn page of Acme, whose name here is longer.
OWN = {"--match Acme ": "--match 'Acme GmbH' ", "customer=acme platform=linkedin": "customer=acme platform=x", "extend 3": "extend 1"}


async def test_commands_of_the_page(call: Call) -> None:
    """The commands of tenants.md work as they stand there, in their order."""
    (block,) = blocks_below("docs/how-to/tenants.md", "Silence and acknowledge by name")
    for example, own in OWN.items():
        assert example in block
        block = block.replace(example, own)
    said = [await call(*shlex.split(line)[1:]) for line in block.splitlines()]
    assert [text.split()[0] for text in said] == ["Silence", "Silence", "Silence", "NUMBER", "Acknowledged:"]


REFUSALS = [
    (["Twin"], "Twin is ambiguous; write one of: connection=x-2, connection=x-1"),
    (["connection=Twin"], "2 connections are called Twin; write their ids: x-2|x-1"),
    (["linkedin-page1"], "linkedin-page1 is ambiguous; write one of: account=main user= connection=linkedin-page1, account=second"),
    (["Company pag"], "nothing is called Company pag; did you mean Company page?"),
    (["Acme"], "nothing is called Acme; did you mean Acme GmbH?"),
    (["platform=linkdin"], "no connection has platform linkdin, did you mean linkedin?"),
    (["user=Akme GmbH"], "no connection has user Akme GmbH, did you mean Acme GmbH?"),
    (["customer=acne"], "no connection has customer acne, did you mean acme?"),
    (["account=second", "platform=threads"], "no connection matches all of its matchers; --even-if-none adds it all the same"),
    (["region=north"], "no connection has region north"),
    (["topic=expiry", "type=connection.failed"], "no notification has type connection.failed and topic expiry"),
    (["account=second", "second", "account=main"], "account is given twice"),
]


async def test_refused(call: Call) -> None:
    """What is unknown, ambiguous or covers nothing is refused, with what to write instead, and nothing is added."""
    for words, problem in REFUSALS:
        with pytest.raises(UsageError) as refused:
            await call("silence", "add", "--match", *words, *REASON)
        assert problem in str(refused.value), words
    assert await call("silence", "list") == "No silences.\n"


async def test_even_if_none(call: Call) -> None:
    """What covers nothing yet is added when that is asked for; the list says that it covers nothing."""
    await call("silence", "add", "--match", "platform=mastodon", *REASON, "--even-if-none")
    await call("silence", "add", "--match", "region=north", *REASON, "--even-if-none")
    assert (await call("silence", "list")).count("covers no connection") == 2


async def test_list_says_what_is_covered(call: Call) -> None:
    """The list names what each silence covers now, and shows users by name."""
    await call("silence", "add", "--match", "Acme GmbH", *REASON)
    await call("silence", "add", "--match", "severity=info", *REASON)
    text = await call("silence", "list")
    assert "user=Acme GmbH" in text
    assert "covers 1 of 7 connections: Twin" in text
    assert "covers all 7 connections" in text
    assert [each["covers"] for each in json.loads(await call("silence", "list", "--json"))["silences"]] == [1, 7]


async def test_extend(call: Call) -> None:
    """A silence gets a later end, by a time or until one; an earlier end, and one that is over, are refused."""
    await call("silence", "add", "--match", "second", *REASON)
    before = json.loads(await call("silence", "list", "--json"))["silences"][0]
    after = json.loads(await call("silence", "extend", "1", "--by", "1h", "--json"))["silence"]
    assert after["endsAt"] > before["endsAt"]
    assert json.loads(await call("silence", "list", "--json"))["silences"][0] == after
    await call("silence", "extend", "1", "--until", "2999-01-01")
    assert json.loads(await call("silence", "list", "--json"))["silences"][0]["endsAt"].startswith("2999")
    with pytest.raises(UsageError, match="already; `silence expire` ends it early"):
        await call("silence", "extend", "1", "--until", "2030-01-01")
    await call("silence", "expire", "1")
    for number in ("1", "9"):
        with pytest.raises(UsageError, match="unknown or has ended"):
            await call("silence", "extend", number, "--by", "1h")


async def test_ack(call: Call) -> None:
    """`ack` takes a name as well as an id or a key; a misspelled one is answered with the nearest."""
    for word in ("Company page", "linkedin-page1"):
        assert "-connection-" in await call("ack", word, "--reason", "seen")
    with pytest.raises(UsageError, match=r"no open incident matches Company pag; did you mean Company page\?"):
        await call("ack", "Company pag", "--reason", "seen")
    for word in ("Twin", "second", "Acme GmbH"):
        with pytest.raises(UsageError, match=f"no open incident matches {word}; `postpost-monitor incidents --open`"):
            await call("ack", word, "--reason", "seen")


async def test_routes(call: Call) -> None:
    """`routes test` takes the words that `status` prints, with what is known of the connection; an ambiguous one is refused."""
    found = json.loads(await call("routes", "test", "--connection", "Company page", "--json"))
    assert (found["facts"]["connection"], found["facts"]["platform"]) == ("linkedin-page1", "linkedin")
    found = json.loads(await call("routes", "test", "--connection", "x-1", "--user", "Acme GmbH", "--json"))
    assert len(found["facts"]["user"]) == 24
    with pytest.raises(UsageError, match=r"connection is never Company pag .*did you mean Company page"):
        await call("routes", "test", "--connection", "Company pag")
    with pytest.raises(UsageError, match="2 connections are called Twin"):
        await call("routes", "test", "--connection", "Twin")


async def test_reading_verbs(call: Call) -> None:
    """Verbs for one connection take its name too; a name that two have is refused with their ids."""
    shown = await call("explain", "Company page")
    assert "linkedin-page1" in shown
    assert re.search(r"Settings\n +.*config.yaml:[0-9]+: name Company page", shown), shown
    assert "x-1" in await call("explain", "Twin", "--account", "Acme GmbH")
    with pytest.raises(UsageError, match=r"Twin is the name of 2 connections; write the id: x-2 \(main\) or x-1 \(main/Acme GmbH\)"):
        await call("explain", "Twin")
