"""The port that people and Prometheus look at. It only ever reads."""

from monitor.web.admission import Admission
from monitor.web.guard import Limits
from monitor.web.server import WebServer

__all__ = ["Admission", "Limits", "WebServer"]
