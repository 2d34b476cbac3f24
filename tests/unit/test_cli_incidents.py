"""The explanations in the table of `incidents`."""

import pytest

from monitor.cli.incidents import IncidentLine, as_text
from monitor.db import IncidentRow
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.errors import Reason
from tests.builders import HOUR, START


@pytest.mark.parametrize(
    ("topic", "detail", "explanation"),
    [
        (Topic.CONNECTION, "Session has expired", "the platform rejects the stored credential: Session has expired"),
        (Topic.PUBLISHING, "Invalid image format", "Invalid image format"),
        (Topic.PERMISSIONS, "w_post, r_me", "w_post, r_me"),
        (Topic.EXPIRY, "Connected as John", ""),
    ],
)
def test_what_an_incident_is_about(topic: Topic, detail: str, explanation: str) -> None:
    """The reason of the last check explains incidents of health only; posts and permissions have their own detail, tokens none."""
    row = IncidentRow(
        1, IncidentRef(topic, "1", 1, START), Scope.CONNECTION, 1, "x", Severity.WARNING, Reason.CREDENTIAL_REJECTED, detail, START
    )
    shown = as_text([IncidentLine(row, "key-1")], START + HOUR, 200).splitlines()[1]

    assert shown.endswith(f"  {explanation}" if explanation else "  key key-1")
