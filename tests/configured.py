"""Configurations from text, for tests."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from monitor.config import Config
from monitor.config.loader import load_text
from monitor.config.platform_texts import platform_texts_of
from monitor.config.sections.policy import PolicySettings
from monitor.errors import ConfigError
from monitor.notify import templates

ACCOUNT = 'accounts: [{name: main, api_key: "${KEY}"}]\n'
KEY = "sk_0123456789abcdef"
PLATFORM_TEXTS = platform_texts_of(PolicySettings())
"""The built-in table of platform texts."""


def configured(text: str, environ: Mapping[str, str] | None = None, *, folder: Path = Path("/etc"), name: str = "config.yaml") -> Config:
    """The configuration in *text*, with `${KEY}` in the environment."""
    return load_text(text, name, {"KEY": KEY} | dict(environ or {}), folder=folder, check_template=templates.problems)


def refused(text: str, environ: Mapping[str, str] | None = None, *, folder: Path = Path("/etc"), name: str = "config.yaml") -> ConfigError:
    """The error with which *text* is refused."""
    with pytest.raises(ConfigError) as caught:
        configured(text, environ, folder=folder, name=name)
    return caught.value
