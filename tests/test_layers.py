"""The architecture, as a test: imports point down, catalogues stay flat, and the robot's side needs no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgeseg"

# Low to high. A file imports from lower layers and from its own folder, nothing else.
ROBOT = [
    {"errors"},
    {"catalogue"},
    {"contract"},
    {"target"},
    {"bundle", "native"},
    {"pixels"},
    {"backends"},
    {"plans"},
    {"segmenter"},
    {"predict"},
    {"measure"},
    {"report"},
    {"doctor"},
]
# ---- the torch line: nothing above imports torch ----
BUILD = [
    {"outputs"},
    {"data"},
    {"score"},
    {"blocks"},
    {"students", "teachers", "losses", "distill"},
    {"networks", "augment"},
    {"batches", "objectives"},
    {"compress"},
    {"checkpoint"},
    {"train", "validate"},
    {"graph"},
    {"recipes"},
    {"pipeline"},
    {"cli"},
    {"__main__"},
]
RANK = {name: i for i, layer in enumerate([*ROBOT, *BUILD]) for name in layer}
TORCH_LINE = len(ROBOT)

# Third-party modules, and the files or folders that may import them. Engine libraries have one file each.
OWNERS = {
    "numpy": ["."],
    "onnxruntime": ["backends/onnxruntime.py"],
    "openvino": ["backends/openvino.py"],
    "av": ["predict.py"],
    "PIL": ["predict.py", "data", "augment.py", "batches.py"],
    "jinja2": ["report"],
    "matplotlib": ["report"],
    "rich": ["report", "cli"],
    "typer": ["cli"],
    # Below the torch line, wherever they are needed.
    "torch": ["outputs.py"],
    "accelerate": ["train.py"],
    "safetensors": ["checkpoint.py"],
    "onnx": ["graph", "backends/onnxruntime.py"],  # the latter reads the graph that the library has optimised
    "onnxscript": ["graph"],
}
NO_TORCH = {"data", "score", "augment", "cli", "__main__"}  # below the line for their place in the pipeline alone
# What one would reach for first of what came after Python 3.10.
NEWER = {"tomllib", "typing.Self", "typing.assert_never", "typing.override", "enum.StrEnum", "datetime.UTC"}
CATALOGUES = ["backends", "data", "students", "teachers", "distill", "recipes"]

FILES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))
LAYERED = [f for f in FILES if f != Path("__init__.py")]
ROBOT_FILES = [f for f in LAYERED if RANK.get(f.parts[0].removesuffix(".py"), TORCH_LINE) < TORCH_LINE]


def layer(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in it, relative imports resolved."""
    inside = ["edgeseg", *file.parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*inside[: len(inside) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            submodules = {a.name for a in node.names if (ROOT.joinpath(*base, a.name).with_suffix(".py")).is_file()}
            submodules |= {a.name for a in node.names if (ROOT.joinpath(*base, a.name) / "__init__.py").is_file()}
            found |= {".".join([*base, name]) for name in submodules}
            if submodules != {a.name for a in node.names}:
                found.add(".".join(base))
    return found


def owned(file: Path, owners: list[str]) -> bool:
    return any(owner == "." or file.as_posix() == owner or Path(owner) in file.parents for owner in owners)


@pytest.mark.parametrize("file", LAYERED, ids=str)
def test_every_file_has_a_layer(file):
    assert layer(file) in RANK, f"{file} is in no layer: give it its place in ROBOT or BUILD"


@pytest.mark.parametrize("file", LAYERED, ids=str)
def test_imports_point_down(file):
    for name in imports(file):
        if name.startswith("edgeseg."):
            other = name.split(".")[1]
            assert RANK[other] < RANK[layer(file)] or other == layer(file), f"{file} imports {name}, which is above it"


@pytest.mark.parametrize("folder", CATALOGUES)
def test_leaves_of_a_catalogue_never_import_each_other(folder):
    leaves = sorted(p.name.removesuffix(".py") for p in (PACKAGE / folder).iterdir() if p.stem[:2] != "__")
    for file in (f for f in LAYERED if f.parts[0] == folder and len(f.parts) > 1):
        leaf = file.parts[1].removesuffix(".py")
        for name in imports(file):
            parts = name.split(".")
            if leaf in leaves and parts[:2] == ["edgeseg", folder] and len(parts) > 2 and parts[2] in leaves:
                assert parts[2] == leaf, f"{file} imports {name}: move what they share out of the catalogue"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_library_is_imported_where_it_belongs(file):
    for name in imports(file):
        library = name.split(".")[0]
        if library in sys.stdlib_module_names or library == "edgeseg":
            continue
        assert library in OWNERS, f"{file} imports {library}, which no layer may: add it to OWNERS with its place"
        if library == "torch":
            below = RANK.get(layer(file), 0) >= TORCH_LINE and layer(file) not in NO_TORCH
            assert below, f"{file} imports torch, and must work without"
        else:
            assert owned(file, OWNERS[library]), f"{file} imports {library}; only {OWNERS[library]} may"


@pytest.mark.parametrize("file", [*ROBOT_FILES, *(f for f in LAYERED if layer(f) in {"cli", "__main__"})], ids=str)
def test_the_robot_side_is_python_3_10(file):
    tree = ast.parse((PACKAGE / file).read_text(), feature_version=(3, 10))
    used = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    used |= {f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert not used & NEWER, f"{file} uses {used & NEWER}, which Python 3.10 does not have"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_says_what_it_is(file):
    assert ast.get_docstring(ast.parse((PACKAGE / file).read_text())), f"{file} has no module docstring"


def test_nothing_imports_what_is_not_installed():
    for file in FILES:
        outside = {n for n in imports(file) if n.split(".")[0] in {"export", "benchmarks", "tests"}}
        assert not outside, f"{file} imports {outside}"


def test_the_robot_side_runs_with_torch_blocked():
    blocked = ["torch", "torchvision", "accelerate", "safetensors", "onnxscript", "PIL", "jinja2", "matplotlib", "av"]
    names = [".".join(["edgeseg", *f.with_suffix("").parts]).removesuffix(".__init__") for f in ROBOT_FILES]
    code = f"""
import importlib, sys
for name in {blocked}:
    sys.modules[name] = None
from edgeseg import backends
for name in {names}:
    library = name.removeprefix("edgeseg.backends.")
    if name.startswith("edgeseg.backends."):
        try:
            backends.get(library)
        except backends.BackendMissing as e:
            print(f"{{library}} is not installed here: {{e}}")
    else:
        importlib.import_module(name)
import edgeseg
for name in edgeseg.__all__:
    getattr(edgeseg, name)
from edgeseg.cli import main
from edgeseg.doctor import examine
assert "torch" in next(e for e in examine().extras if e.name == "train").missing
assert main(["--help"]) == 0
assert main(["train", "--model", "unet", "--data", "synthetic:street", "--out", "never-made"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "pip install 'edgeseg[train]'" in done.stderr


TEXTS = sorted(
    p
    for pattern in ("*.md", "*.toml", "*.txt", "Makefile", ".ci/run", "*.py", "*.json", "*.yml")
    for p in ROOT.rglob(pattern)
    if not {".git", ".venv", "runs", "build", "dist"}.intersection(p.relative_to(ROOT).parts)
)


def test_requirements_are_ranges_and_pins_live_in_constraints():
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert not re.findall(r"[\w\]]==\d", pyproject)
    pins = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert pins
    for line in pins:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+(; python_version >= \"3\.11\")?", line), line


@pytest.mark.parametrize("file", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_names_a_package_registry(file):
    hosts = [
        ".".join(x)
        for x in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"), ("ngc", "nvidia", "com"))
    ]
    text = file.read_text(errors="replace")
    assert not [h for h in hosts if h in text], "which registry pip asks is the user's setting"
    assert not re.search(r"--(extra-)?index" + r"-url|--find" + "-links", text)
