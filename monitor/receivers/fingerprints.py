"""Whether a receiver is configured as it was."""

import hashlib

from monitor.config import ReceiverSettings


def fingerprint(receiver: ReceiverSettings) -> str:
    """What tells one configuration of a receiver from another without telling its secrets."""
    parts = [receiver.type, receiver.url.reveal(), *(secret.reveal() for secret in receiver.secrets)]
    parts += [f"{name}:{value.reveal()}" for name, value in sorted(receiver.headers.items())]
    # Named, so that the fingerprint of a receiver without them stays what it was.
    for name in ("routing_key", "api_key", "template"):
        secret = getattr(receiver, name)
        parts += [f"{name}={secret.reveal()}"] if secret is not None else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
