"""Brands of the API: the same product under two names differs in its address and header names only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Brand:
    """
    What differs between the brands.

    Attributes:
        name: as the configuration spells it.
        base_url: the public API address, without a slash at its end.
        key_header: carries the API key.
        user_header: carries the managed user's id; its name is also part of the API's 400 text.
        client_header: carries the client's name; a monitor does not send it.

    Source: api-contract.md, "Brand profile".
    """

    name: str
    base_url: str
    key_header: str
    user_header: str
    client_header: str


POSTPOST = Brand("postpost", "https://api.postpost.dev/api/v1", "x-api-key", "x-postpost-user-id", "x-postpost-client")
PUBLORA = Brand("publora", "https://api.publora.com/api/v1", "x-publora-key", "x-publora-user-id", "x-publora-client")
BRANDS = {brand.name: brand for brand in (POSTPOST, PUBLORA)}
