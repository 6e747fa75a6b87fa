"""The rules that the package's files keep among each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import medsweep

PACKAGE = Path(medsweep.__file__).parent
SOURCE = PACKAGE.parent

# From low to high: a package imports from those below its own, and never from those beside it.
LAYERS = (
    ("errors", "clock", "reporter", "version", "json_lines"),
    ("table", "config", "api_key", "processes", "digits", "names"),
    ("hardware", "metrics"),
    ("models", "results", "telemetry"),
    ("datasets", "prediction", "loadgen", "cluster"),
    ("finetune", "comparison"),
    ("serving", "decide"),
    ("monitoring", "report", "review", "trackers"),
    ("search",),
    ("sweep",),
    ("k8s", "api"),
    ("cli",),
    ("__main__",),
)
LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}

# They take long to import, and `medsweep --help` needs none of them.
HEAVY = {
    "kubernetes",
    "matplotlib",
    "mlflow",
    "pandas",
    "peft",
    "pint",
    "pyarrow",
    "ray",
    "rich",
    "scipy",
    "torch",
    "transformers",
    "wandb",
}

LONGEST = 400

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}


def package(module: str) -> str:
    """The package below `medsweep` that a module belongs to; empty for `medsweep` itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each module of ours that is imported, wherever in the file, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            source = node.module or ""
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else source


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, not those for type checkers alone."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def test_the_rules_see_the_whole_package() -> None:
    assert len(MODULES) > 60
    assert {package(module) for module in MODULES} - {""} == set(LAYER_OF)


def test_imports_point_downwards() -> None:
    upwards = []
    for module in MODULES:
        own = package(module)
        for line, imported in imports(parsed(module)):
            theirs = package(imported) if imported.startswith("medsweep.") else ""
            # The package itself names what the Python interface loads.
            highest = LAYER_OF[own] if own else LAYER_OF["api"] + 1
            if theirs not in ("", own) and LAYER_OF[theirs] >= highest:
                upwards.append(f"{MODULES[module]}:{line}: {module} imports {imported}")
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    needs = {
        module: {imported for _, imported in imports(parsed(module)) if imported in MODULES}
        for module in MODULES
    }
    # What imports nothing that is left is in no circle.
    while free := {module for module, others in needs.items() if not others & set(needs)}:
        needs = {module: others for module, others in needs.items() if module not in free}
    assert sorted(needs) == []


def test_what_takes_long_is_imported_where_it_is_used() -> None:
    found = []
    for module, path in MODULES.items():
        for node in at_import(parsed(module).body):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [
                f"{path}:{node.lineno}: {name}" for name in names if name.split(".")[0] in HEAVY
            ]
    assert found == []


def test_no_module_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_only_the_command_line_prints() -> None:
    # The mock server is a program of its own, and tells its port that way.
    silent = [
        module
        for module in MODULES
        if package(module) != "cli" and module != "medsweep.loadgen.mock.server"
    ]
    calls = [
        f"{MODULES[module]}:{node.lineno}"
        for module in silent
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert calls == []


def test_the_source_root_does_not_shadow_python_s_platform() -> None:
    assert SOURCE.name == "platform"
    assert not (SOURCE / "__init__.py").exists()
    assert not (SOURCE / "platform.py").exists()
    assert [path.name for path in SOURCE.glob("*.py")] == []


def test_the_rules_can_fail() -> None:
    tree = ast.parse(
        "import os\nif TYPE_CHECKING:\n    import torch\ntry:\n    import ray\nexcept E:\n"
        "    import scipy.stats\ndef f():\n    import pandas\nclass C:\n    import peft\n"
    )
    found = [
        alias.name
        for node in at_import(tree.body)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert found == ["os", "ray", "scipy.stats", "peft"]
    assert list(imports(ast.parse("from medsweep.models import weights"))) == [
        (1, "medsweep.models.weights")
    ]
    assert package("medsweep.models.weights") == "models"
    assert package("medsweep") == ""
