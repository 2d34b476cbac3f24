"""What the pure core costs per passed check: reading the reply, judging it, and concluding from it."""

import json
from collections.abc import Iterator
from datetime import timedelta

from monitor.domain.evaluation import EvaluationInput, evaluate_check
from monitor.domain.replies.checks import Observation
from monitor.domain.replies.verdicts import judge
from monitor.domain.scopes.key import scopes_above
from monitor.postpost.responses import parse_reply
from tests.bench.result import Result, cpu_seconds
from tests.builders import DAY, MINUTE, START, a_connection, a_policy, a_state

ROUNDS = 2000

BODY = json.dumps(
    {
        "success": True,
        "platform": "linkedin",
        "platformId": "linkedin-page1",
        "status": "ok",
        "username": "page1",
        "message": "Connection is working",
        "permissions": ["r_liteprofile", "w_member_social"],
        "tokenExpiresIn": "23d 4h",
        "lastSuccessfulPost": "2029-12-31T12:00:00.000Z",
        "lastError": None,
    }
).encode()


def measure() -> Iterator[Result]:
    """Microseconds of each step, and the whole as a multiple of parsing the reply's JSON alone."""
    connection, policy = a_connection(), a_policy()
    reply = parse_reply(BODY, connection.platform_id)
    moment = START + 15 * MINUTE
    observation = Observation(1, moment - timedelta(milliseconds=200), moment, judge(reply, connection), reply, http_status=200)
    situation = EvaluationInput(
        connection,
        a_state(),
        scopes_above(connection, "api"),
        scopes={},
        member_counts={},
        watching_since=START - DAY,
        window=30 * MINUTE,
    )

    plain = cpu_seconds(lambda: json.loads(BODY), ROUNDS)
    parse = cpu_seconds(lambda: parse_reply(BODY, connection.platform_id), ROUNDS)
    verdict = cpu_seconds(lambda: judge(reply, connection), ROUNDS)
    decide = cpu_seconds(lambda: evaluate_check(situation, observation, policy), ROUNDS)

    yield Result("parse the reply", parse * 1e6, "us")
    yield Result("judge it", verdict * 1e6, "us")
    yield Result("conclude from it", decide * 1e6, "us")
    yield Result("all three, as a multiple of json.loads of the reply", (parse + verdict + decide) / plain, "x")
