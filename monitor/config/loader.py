"""Loading: a file and the environment in, a new `Config` or every problem at once out. Has no side effects."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from monitor.config.consistency import CheckTemplate, check
from monitor.config.env import Expansion
from monitor.config.model import Config
from monitor.config.secret_files import SecretFiles
from monitor.config.secrets import MASK
from monitor.config.validation import validate
from monitor.config.yaml import YamlDocument, parse
from monitor.errors import ConfigError, Problem
from monitor.redaction import clean

DEFAULT_PATH = Path("/etc/postpost-monitor/config.yaml")
PATH_VARIABLE = "POSTPOST_MONITOR_CONFIG"
KEY_VARIABLES = ("POSTPOST_API_KEY", "PUBLORA_API_KEY")
_POLICY_SECTIONS = frozenset({"policy", "schedule"})
SIZE_LIMIT = 8 * 1024 * 1024

_FILE_FIXES: Mapping[type[OSError], str] = {
    FileNotFoundError: "create it (config/postpost-monitor.yaml shows every key), or name another with --config",
    PermissionError: "run the command with sudo; the service's user must be able to read it",
}


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    check_template: CheckTemplate,
    after_reading: Callable[[], None] = lambda: None,
) -> Config:
    """
    The configuration in the file at *path*.

    Without *path* the file is `$POSTPOST_MONITOR_CONFIG`, else `/etc/postpost-monitor/config.yaml`; if that one does
    not exist and `$POSTPOST_API_KEY` (or `$PUBLORA_API_KEY`) is set, the result is `default_config`.

    Args:
        path: the file; None for the default location.
        environ: the environment; None for the process's own.
        check_template: returns the problems of a receiver's template.
        after_reading: called once the file is read, before the files that it names are.

    Raises:
        ConfigError: with every problem, each with file and line, in the order of the file.
    """
    environ = os.environ if environ is None else environ
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    if named is None and not _exists(DEFAULT_PATH):
        return default_config(environ)
    file = named or DEFAULT_PATH
    text = _read(file)
    after_reading()
    return load_text(text, str(file), environ, folder=file.parent, check_template=check_template)


def load_policy(path: Path, base: Config, environ: Mapping[str, str] | None = None) -> Config:
    """
    *base* with another policy: the sections `policy` and `schedule` of the file at *path*, whose other sections are ignored.

    Of `schedule` only `recheck` affects what was already checked; the rest stays as in *base*.

    Raises:
        ConfigError: with every problem of these two sections, or if the file has neither.
    """
    document = parse(_read(path), str(path))
    data = document.data if isinstance(document.data, dict) else {}
    if document.problems:
        raise ConfigError(document.problems)
    if not data.keys() & _POLICY_SECTIONS:
        fix = "add a section policy:, as in the configuration, or schedule: {recheck: ...}"
        raise ConfigError((Problem(document.location(()), "contains no policy", fix),))
    kept = {name: value for name, value in data.items() if name in _POLICY_SECTIONS or name not in Config.model_fields}
    # An account is required, and has no effect here.
    account = {"accounts": [{"name": "any", "api_key": "not-used-by-a-replay"}]}
    config = _build(replace(document, data=kept | account), os.environ if environ is None else environ, path.parent)
    schedule = base.schedule.model_copy(update={"recheck": config.schedule.recheck} if "schedule" in data else {})
    policy = config.policy_settings if "policy" in data else base.policy_settings
    return base.model_copy(update={"policy_settings": policy, "schedule": schedule})


def load_text(text: str, name: str, environ: Mapping[str, str], *, folder: Path, check_template: CheckTemplate) -> Config:
    """The configuration in *text*; problems call it *name*, relative paths start in *folder*. Raises `ConfigError`."""
    document = parse(text, name)
    if document.data is None and document.problems:
        raise ConfigError(document.problems)
    if document.data is None:
        document = replace(document, data={})
    if not isinstance(document.data, dict):
        raise ConfigError((Problem(document.location(()), "must be keys with values", "start with accounts:"),))
    return _build(document, environ, folder, check_template)


def default_config(environ: Mapping[str, str]) -> Config:
    """
    The configuration without a file: one account whose key is in the environment, and all its connections.

    The database is in `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/postpost-monitor`, else `~/.local/state/postpost-monitor`.

    Raises:
        ConfigError: the environment has no key, or one that can't be used.
    """
    variable = next((name for name in KEY_VARIABLES if environ.get(name)), None)
    if variable is None:
        fix = (
            f"write {DEFAULT_PATH}, name a file with --config or ${PATH_VARIABLE}, "
            f"or set {KEY_VARIABLES[0]} to check all connections of one account"
        )
        raise ConfigError((Problem(str(DEFAULT_PATH), "no configuration found", fix),))
    account = {"name": "main", "api_key": f"${{{variable}}}", "discover": "connections"}
    data = {"accounts": [account], "database": {"url": f"sqlite:///{_state_folder(environ)}/monitor.db"}}
    return _build(YamlDocument(f"environment ({variable})", data, {}), environ, Path.cwd())


def _state_folder(environ: Mapping[str, str]) -> Path:
    # systemd may set several folders, separated by colons; the first is the one of the unit.
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given).absolute()
    base = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "/var/lib")
    return Path(base).absolute() / "postpost-monitor"


def _exists(file: Path) -> bool:
    """Whether *file* exists, readable or not: an unreadable one must not count as absent."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        fix = _FILE_FIXES.get(type(error), "name a readable file with --config")
        raise ConfigError((Problem(str(file), f"can't be read: {error.strerror}", fix),)) from None
    if len(content) > SIZE_LIMIT:
        raise ConfigError((Problem(str(file), "is larger than 8 MiB", "use discovery instead of listing connections"),))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError((Problem(f"{file}:{line}", "is not UTF-8 text", "save it as UTF-8"),)) from None


def _no_templates(_: str, __: object) -> Iterable[tuple[str, str]]:
    return ()


def _build(original: YamlDocument, environ: Mapping[str, str], folder: Path, check_template: CheckTemplate = _no_templates) -> Config:
    expansion = Expansion(original, environ)
    document = expansion.result()
    files = SecretFiles(document, original, folder.absolute(), environ)
    files.resolve()
    draft = validate(document, files.web_file)
    warnings = check(draft, check_template)
    secrets = expansion.values | files.values
    found = [problem for problem in (*files.problems, *draft.problems) if re.split("[ :]", problem.message)[0] not in expansion.broken]
    problems = [expansion.explained(problem) for problem in found]
    if document.problems or problems:
        raise ConfigError(_presentable((*document.problems, *problems), secrets))
    return draft.config(_presentable((*files.warnings, *warnings), secrets))


def _presentable(problems: Iterable[Problem], secrets: set[str]) -> tuple[Problem, ...]:
    """*problems* in the order of their files, without duplicates, with every secret masked that is in a wrong place."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: _place_of(problem.location))
    long_first = sorted((secret for secret in secrets if len(secret) >= 6), key=len, reverse=True)
    return tuple(Problem(problem.location, _masked(problem.message, long_first), _masked(problem.fix, long_first)) for problem in ordered)


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return clean(text)


def _place_of(location: str) -> tuple[str, int]:
    file, _, line = location.rpartition(":")
    return (file, int(line)) if line.isdigit() else (location, 0)
