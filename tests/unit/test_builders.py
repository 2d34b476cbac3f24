"""The builders of test values."""

from monitor.domain.reasons import Health
from monitor.errors import Reason
from tests.builders import DAY, HOUR, START, a_connection, a_policy, a_reply, a_state, a_token_life, an_observation


def test_defaults_fit_together() -> None:
    """A reply, an observation and a state built without arguments are about the same connection."""
    connection = a_connection()

    assert a_reply().platform_id == connection.platform_id
    assert an_observation().connection_id == connection.id
    assert an_observation().reply == a_reply()


def test_platform_follows_the_id() -> None:
    """Overriding the id alone gives the platform that the id names."""
    assert a_connection(platform_id="bluesky-alice").platform == "bluesky"


def test_failed_observation() -> None:
    """A failed check carries no reply unless the test gives one."""
    assert an_observation(Reason.API_TIMEOUT).reply is None


def test_states() -> None:
    """Each health comes with the memory that belongs to it."""
    assert a_state().passed_before
    assert a_state(Health.ERROR).failures == a_policy().confirm.failures
    assert a_state(Health.UNKNOWN).since is None
    assert a_state().since == START


def test_token_life_prints_as_the_api_does() -> None:
    """The raw text of a token life is the API's: days and hours."""
    assert a_token_life(7 * DAY + 3 * HOUR).raw == "7d 3h"
    assert a_token_life(5 * HOUR).raw == "5h"
