"""The shape of the package: imports go one way, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ssl_pdr

PACKAGE = Path(ssl_pdr.__file__).parent
# From the ground up: a module imports only from rooms above its own line.
LAYERS = [
    {"errors", "choices"},
    {"data.permutation"},
    {
        "outputs",
        "shelf",
        "metrics",
        "registry",
        "files",
        "imports",
        "interrupts",
        "arrays",
        "printing",
        "processes",
        "data.text_lines",
        "data.labels",
        "data.near",
        "data.orders",
    },
    {
        "checkpoints",
        "run_log",
        "config",
        "divergences",
        "sites",
        "perturbation",
        "execution",
        "data.class_codes",
        "data.manifest",
        "data.docstrings",
        "data.encoder",
    }
    | {"data.json_files", "data.named", "data.shares", "data.streams", "data.columns", "data.checks"},
    {"resolution"},
    {
        "regularizers",
        "recipe",
        "data.embedded",
        "data.passages",
        "data.splits",
        "data.readers",
        "data.tables",
        "data.catalogue",
    },
    {"alignment"},
    {"objective", "data.mixing", "data.pydocs", "data.pydocs_pairs", "data.entries", "data.locations", "run_folder"},
    {"step_sums"},
    {"data.collate", "data.sources", "data.pydocs_questions", "diagnostics", "theory", "methods"},
    {"data.corpus", "data.questions", "data.pydocs_qa", "trainer", "progress", "provenance", "model_card", "baseline"}
    | {"balance", "concerns", "determinism", "reporting"},
    {"data.unlabelled", "data.evaluation_sets", "classifier_folder"},
    {"tasks", "data.question_corpus"},
    {"features", "evaluation"},
    {"materials"},
    {"loading"},
    {"fitting", "result"},
    {"experiment", "classifier"},
    {"curves"},
    {"report"},
    {"paper"},
    {"cli"},
]
ONLY_IN = {
    "typer": {"cli"},
    "rich": {"cli"},
    "datasets": {
        "data.sources",
        "data.tables",
        "data.corpus",
        "data.questions",
        "data.question_corpus",
        "data.evaluation_sets",
        "curves",
        "cli",
    },
    "transformers": {
        "balance",
        "determinism",
        "reporting",
        "trainer",
        "loading",
        "fitting",
        "evaluation",
        "progress",
        "tasks",
        "classifier",
        "curves",
        "cli",
    },
    "accelerate": {"processes", "experiment", "fitting"},
    "matplotlib": {"report"},
    "pandas": {"data.sources"},
    "datasketch": {"data.near"},
    "sklearn": {"metrics", "baseline", "arrays", "classifier", "curves"},
    "ray": {"curves"},
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def room(module: str) -> str:
    return next((name for layer in LAYERS for name in layer if module == name or module.startswith(f"{name}.")), "")


def imports(tree: ast.Module) -> set[str]:
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    return names


def test_imports_go_one_way() -> None:
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for module, tree in modules().items():
        if module == "data":
            continue
        assert room(module), f"{module} has no place in LAYERS"
        for name in imports(tree):
            target = room(name.removeprefix("ssl_pdr.")) if name.startswith("ssl_pdr.") else ""
            if target and target != room(module):
                same_maths = (room(module), target) in {("perturbation", "sites"), ("execution", "sites")}
                assert rank[target] < rank[room(module)] or same_maths, f"{module} imports {name}"


def test_heavy_libraries_stay_in_their_rooms() -> None:
    for module, tree in modules().items():
        for name in imports(tree):
            allowed = ONLY_IN.get(name.partition(".")[0])
            assert allowed is None or room(module) in allowed, f"{module} imports {name}"


def test_every_public_name_is_there() -> None:
    for name in ssl_pdr.__all__:
        assert getattr(ssl_pdr, name) is not None
    assert set(ssl_pdr.__all__) <= set(dir(ssl_pdr))
    assert sorted(ssl_pdr._HOME_OF) == sorted(ssl_pdr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ssl_pdr.nothing  # noqa: B018


@pytest.mark.parametrize("code", ["import ssl_pdr", "import ssl_pdr.cli", "from ssl_pdr import TrainConfig"])
def test_torch_is_not_imported_until_it_is_needed(code: str) -> None:
    check = f"import sys; {code}; heavy = {{'torch', 'transformers', 'datasets', 'numpy', 'pandas'}} & set(sys.modules); print(heavy); sys.exit(bool(heavy))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_is_a_maze() -> None:
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 450} == {}
