"""The rules that the package's files keep among each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import medsweep

PACKAGE = Path(medsweep.__file__).parent
SOURCE = PACKAGE.parent

# From low to high: a module imports from its own layer and those below it. The longest prefix
# that names a module decides.
LAYERS = (
    ("medsweep.errors", "medsweep.registry", "medsweep.clock", "medsweep.config"),
    ("medsweep.metrics",),
    (
        "medsweep.models.spec",
        "medsweep.models.catalog",
        "medsweep.models.templates",
        "medsweep.models.precision",
        "medsweep.hardware",
        "medsweep.datasets.catalog",
        "medsweep.datasets.spec",
    ),
    ("medsweep.loadgen", "medsweep.datasets", "medsweep.results", "medsweep.telemetry"),
    ("medsweep.models", "medsweep.cluster.cpus", "medsweep.cluster.causes"),
    ("medsweep.finetune",),
    ("medsweep.serving",),
    ("medsweep.cluster",),
    ("medsweep.comparison",),
    ("medsweep.monitoring", "medsweep.report", "medsweep.search", "medsweep.decide"),
    ("medsweep.sweep",),
    ("medsweep.cluster.kubernetes",),
    ("medsweep.cli", "medsweep.__main__"),
)

# They take long to import, and `medsweep --help` needs none of them.
HEAVY = {
    "kubernetes",
    "matplotlib",
    "pandas",
    "peft",
    "pyarrow",
    "ray",
    "scipy",
    "torch",
    "transformers",
}

LONGEST = 500

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}


def layer(module: str) -> int | None:
    """The layer of a module; None for the package itself, which holds only the version."""
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(found)[1] if found else None


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
    assert {module for module in MODULES if layer(module) is None} == {"medsweep"}
    for prefix in (prefix for prefixes in LAYERS for prefix in prefixes):
        assert any(f"{module}.".startswith(f"{prefix}.") for module in MODULES), prefix


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    own = layer(module)
    upwards = []
    for line, imported in imports(parsed(module)):
        theirs = layer(imported) if imported.split(".")[0] == "medsweep" else None
        if theirs is not None and (own is None or theirs > own):
            upwards.append(f"line {line}: {module} imports {imported}")
    assert upwards == []


@pytest.mark.parametrize("module", MODULES)
def test_what_takes_long_is_imported_where_it_is_used(module: str) -> None:
    found = []
    for node in at_import(parsed(module).body):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in HEAVY]
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_prints(module: str) -> None:
    calls = [
        node.lineno
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    # The mock server is a program of its own, and tells its port that way.
    allowed = module.startswith("medsweep.cli") or module == "medsweep.loadgen.mock_server"
    assert allowed or calls == []


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
    assert layer("medsweep.models.weights") != layer("medsweep.models.catalog")
    assert layer("medsweep.cluster.local") != layer("medsweep.cluster.cpus")
