"""The house keeps its order: what import contracts can't see."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APP = sorted((ROOT / "app").rglob("*.py"))
EMPTY_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "service",
    "services",
    "manager",
    "managers",
}


def test_no_file_has_a_name_that_says_nothing():
    assert [str(path.relative_to(ROOT)) for path in APP if path.stem in EMPTY_NAMES] == []


@pytest.mark.parametrize("path", APP, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def functions():
    for path in APP:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def test_no_function_is_longer_than_fifty_lines():
    assert [name for name, lines in functions() if lines > 50] == []


def test_no_file_is_longer_than_three_hundred_lines():
    long = [path for path in APP if len(path.read_text().splitlines()) > 300]
    assert [str(path.relative_to(ROOT)) for path in long] == []


def test_every_pinned_package_is_pinned_without_an_address():
    assert "://" not in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("process", ["app.main", "app.worker"])
def test_no_start_waits_for_what_few_requests_need(process):
    heavy = "{'scipy', 'pandas', 'sklearn', 'pyarrow', 'onnxruntime'}"
    program = f"import sys, {process}; print(*({heavy} & {{*sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def test_tables_are_imported_by_their_own_room_only():
    """Rows are private; a room above asks `queries`, and may name a row's type where only the type checker reads it."""
    trespasses = []
    for path in APP:
        room = path.relative_to(ROOT / "app").parts[0]
        for node in run_time_imports(ast.parse(path.read_text())):
            module = node.module or ""
            if module.startswith("app.") and module.endswith(".tables") and module.split(".")[1] != room:
                trespasses.append(f"{path.relative_to(ROOT)} imports {module}")
    assert trespasses == []


def run_time_imports(tree):
    type_checking = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    return [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and id(n) not in type_checking]


def test_the_environment_table_of_the_readme_names_every_variable():
    from app.core.config import Settings, variable_of

    readme = (ROOT / "README.md").read_text()
    names = [variable_of(field) for field in Settings.model_fields]
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_the_version_is_the_same_everywhere():
    import app

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == app.__version__
