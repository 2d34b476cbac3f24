"""Stand-ins for the slow and the privileged parts of an installation: the package installer and systemctl."""

import re
import sys
import zipfile
from pathlib import Path

REVISION = "9999"
"""The schema of the release that `next_release` makes."""

_PYTHON = """\
#!{python}
# Makes virtual environments whose packages are this interpreter's own; a wheel is unpacked beside them.
import os, pathlib, runpy, sys, zipfile

def environment(folder):
    (folder / "bin").mkdir(parents=True)
    for name, words in (("python", '"$@"'), ("postpost-monitor", '-m monitor "$@"')):
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\\nexport STAND_IN={{folder}} PYTHONPATH={{folder}}/lib\\nexec {stand_in} {{words}}\\n")
        program.chmod(0o755)

def main(words):
    if words[:2] == ["-m", "venv"]:
        environment(pathlib.Path(words[2]).absolute())
    elif words[:2] == ["-m", "pip"] and words[-1].endswith(".whl"):
        zipfile.ZipFile(words[-1]).extractall(os.environ["STAND_IN"] + "/lib")
    elif words[:2] != ["-m", "pip"]:
        os.execv("{python}", ["{python}", "-P", *words])

main(sys.argv[1:])
"""

_SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {folder}/systemctl.log
case "$*" in
    start*) [ ! -e {folder}/start-fails ] || {{ rm {folder}/start-fails; exit 1; }} ;;
    *is-active*) exit 0 ;;
esac
"""

_MIGRATION = '''\
"""A further schema."""

from alembic import op

revision = "{revision}"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE further (id INTEGER)")
    {more}


def downgrade() -> None:
    op.execute("DROP TABLE further")
'''


def stand_in_python(folder: Path) -> Path:
    """A `python3` that installs in no time."""
    return _script(folder / "python3", _PYTHON.format(python=sys.executable, stand_in=folder / "python3"))


def stand_in_systemctl(folder: Path) -> Path:
    """A `systemctl` that notes what it is asked for; the next `start` fails if there is a file `start-fails`."""
    return _script(folder / "systemctl", _SYSTEMCTL.format(folder=folder))


def next_release(wheel: Path, folder: Path, version: str, *, more: str = "pass") -> Path:
    """*wheel* as a later release with one more migration, which runs the statement *more*."""
    target = folder / f"postpost_monitor-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "monitor/__init__.py":
                content = re.sub(rb'__version__ = ".*"', f'__version__ = "{version}"'.encode(), content)
            if name == "monitor/db/tables.py":
                newest = re.findall(rb'^REVISION = "(.*)"', content, re.MULTILINE)[0].decode()
                content = content.replace(f'REVISION = "{newest}"'.encode(), f'REVISION = "{REVISION}"'.encode())
                new.writestr(
                    f"monitor/_alembic/versions/{REVISION}_further.py", _MIGRATION.format(revision=REVISION, newest=newest, more=more)
                )
            new.writestr(name, content)
    return target


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path
