"""What the port answers, before it is put on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass

HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class WebResponse:
    """What is answered: a body in pieces, and how it is announced."""

    status: int
    media_type: str
    body: tuple[bytes, ...]
    headers: Mapping[str, str] | None = None
