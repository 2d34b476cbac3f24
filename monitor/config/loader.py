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
from monitor.config.yaml import YamlDocument, merged, parse
from monitor.errors import ConfigError, Problem
from monitor.redaction import clean

DEFAULT_PATH = Path("/etc/postpost-monitor/config.yaml")
PATH_VARIABLE = "POSTPOST_MONITOR_CONFIG"
KEY_VARIABLES = ("POSTPOST_API_KEY", "PUBLORA_API_KEY")
_POLICY_SECTIONS = frozenset({"policy", "schedule"})
SIZE_LIMIT = 8 * 1024 * 1024
DROP_INS = "config.d"
"""Folder beside the configuration file whose files are merged over it."""

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
    The configuration in the file at *path* and in the files of `config.d` beside it.

    Without *path* the file is `$POSTPOST_MONITOR_CONFIG`, else `/etc/postpost-monitor/config.yaml`; if that one does
    not exist and `$POSTPOST_API_KEY` (or `$PUBLORA_API_KEY`) is set, the result is `default_config`.

    Args:
        check_template: returns the problems of a receiver's template.
        after_reading: called once the file is read, before the files that it names are.

    Raises:
        ConfigError: with every problem, each with file and line, in the order of the file.
    """
    environ = os.environ if environ is None else environ
    file = _file(path, environ)
    if file is None:
        return default_config(environ)
    document, ignored = _read_all(file)
    after_reading()
    return _from_document(document, environ, file.parent, check_template, ignored)


def read_document(path: Path | None = None, environ: Mapping[str, str] | None = None) -> YamlDocument | None:
    """What the files that `load` reads say, merged, with the place of each value; None when there are none. Raises `ConfigError`."""
    file = _file(path, os.environ if environ is None else environ)
    return None if file is None else _read_all(file)[0]


def _file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file; None when no file is named, and the default one does not exist."""
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    if named is None and not _exists(DEFAULT_PATH) and not _drop_ins(DEFAULT_PATH)[0]:
        return None
    return named or DEFAULT_PATH


def _read_all(file: Path) -> tuple[YamlDocument, list[Problem]]:
    """The files of the configuration as one document, and warnings of files that are not read. Raises `ConfigError`."""
    drop_ins, ignored = _drop_ins(file)
    documents: list[YamlDocument] = []
    problems: list[Problem] = []
    for each in (file, *drop_ins):
        try:
            documents.append(parse(_read(each), str(each)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError((*problems, *(problem for document in documents for problem in document.problems)))
    main, *more = documents
    return (main if main.data is not None and not isinstance(main.data, dict) else merged(main, more)), ignored


def _drop_ins(file: Path) -> tuple[list[Path], list[Problem]]:
    """The drop-in files of the configuration *file* in order, and warnings of files beside them that look like ones. Raises `ConfigError`."""
    folder = file.parent / DROP_INS
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        message, fix = f"can't be read: {error.strerror}", "run the command with sudo; the service's user must be able to read the folder"
        raise ConfigError((Problem(str(folder), message, fix),)) from None
    ignored = [
        Problem(str(folder / name), "is not read: its name does not end in .yaml", f"rename it to {Path(name).stem}.yaml, or remove it")
        for name in names
        if name.endswith((".yml", ".YAML", ".conf"))
    ]
    return [folder / name for name in names if name.endswith(".yaml")], ignored


def load_policy(path: Path, base: Config, environ: Mapping[str, str] | None = None) -> Config:
    """
    *base* with another policy: the sections `policy` and `schedule` of the file at *path* and of `config.d` beside it.

    The other sections are ignored. Of `schedule` only `recheck` affects what was already checked; the rest stays as in *base*.

    Raises:
        ConfigError: with every problem of these two sections, or if the file has neither.
    """
    document, _ = _read_all(path)
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


def watched_files(config: Config) -> list[Path]:
    """What *config* was read from: its file first, the folder of drop-in files, and every file that it names."""
    file = Path(config.source)
    named = (*config.files, *(receiver.ca_file for receiver in config.receivers), config.api.ca_file)
    return [file, file.parent / DROP_INS, *(Path(name) for name in named if name is not None)]


def load_text(text: str, name: str, environ: Mapping[str, str], *, folder: Path, check_template: CheckTemplate) -> Config:
    """The configuration in *text*; problems call it *name*, relative paths start in *folder*. Raises `ConfigError`."""
    return _from_document(parse(text, name), environ, folder, check_template)


def _from_document(
    document: YamlDocument, environ: Mapping[str, str], folder: Path, check_template: CheckTemplate, warnings: Iterable[Problem] = ()
) -> Config:
    if document.data is None and document.problems:
        raise ConfigError(document.problems)
    if document.data is None:
        document = replace(document, data={})
    if not isinstance(document.data, dict):
        raise ConfigError((Problem(document.location(()), "must be keys with values", "start with accounts:"),))
    return _build(document, environ, folder, check_template, warnings)


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


def _build(
    original: YamlDocument,
    environ: Mapping[str, str],
    folder: Path,
    check_template: CheckTemplate = lambda _, __: (),
    warnings: Iterable[Problem] = (),
) -> Config:
    expansion = Expansion(original, environ)
    document = expansion.result()
    files = SecretFiles(document, original, folder.absolute(), environ)
    files.resolve()
    draft = validate(document, files.web_file, files.files)
    warnings = [*warnings, *check(draft, check_template)]
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
