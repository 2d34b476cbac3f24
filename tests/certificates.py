"""Certificates for tests: an authority, and files as an operator would lay them down."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of its own; *folder* gets what it issues."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.folder = folder
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *identities: str) -> tuple[Path, Path]:
        """A certificate and its key in `NAME.crt` and `NAME.key`, in place of what was there."""
        made = self._authority.issue_cert(*identities)
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def client(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """The TLS of a client that trusts this authority, and shows a *certificate* if one is given."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context
