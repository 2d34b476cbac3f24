"""What happens when the program is imported: nothing but definitions."""

import ast
import subprocess
import sys
from collections.abc import Iterator

from tests.project.source import ROOT, Module, imports, modules

IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (*IMPORTS, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign)

IMPORT_EVERYTHING = """
import importlib, sys
sys.dont_write_bytecode = True
*foreign, separator = sys.argv[1:sys.argv.index("--") + 1]
own = sys.argv[sys.argv.index("--") + 1:]
for name in foreign:
    importlib.import_module(name)
EFFECTS = ("socket.", "subprocess.", "sqlite3.", "os.mkdir", "os.remove", "os.rename", "os.putenv", "_thread.start", "os.fork", "os.system")
def watch(event, arguments):
    writing = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writing or event.startswith(EFFECTS):
        raise SystemExit(f"importing did: {event} {arguments}")
sys.addaudithook(watch)
for name in own:
    importlib.import_module(name)
"""


def _is_definition(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    return isinstance(node, DEFINITIONS)


def _work(module: Module) -> Iterator[str]:
    if module.name == "monitor.__main__":
        return
    for node in module.tree.body:
        if not _is_definition(node):
            yield f"{module.shown}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"


def test_modules_only_define() -> None:
    """At the top level of a module stand imports, definitions and constants: no calls, loops or conditions."""
    assert [work for module in modules("monitor") for work in _work(module)] == []


def test_import_has_no_effects() -> None:
    """Importing every module opens no socket and no database, starts no thread or process and writes no file."""
    own = [module.name for module in modules("monitor") if module.name != "monitor.__main__"]
    foreign = {name.rpartition(".")[0] or name for module in modules("monitor") for _, name in imports(module)}
    foreign = {name for name in foreign if not name.startswith("monitor")}
    command = [sys.executable, "-c", IMPORT_EVERYTHING, *sorted(foreign), "--", *own]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
