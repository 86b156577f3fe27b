"""The architecture, as a test: imports point down, catalogues stay flat, and the robot's side needs no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from edgeseg import backends

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgeseg"

# Low to high. A file imports from lower layers and from its own folder, nothing else.
ROBOT = [
    {"errors", "schedules", "shipped"},
    {"catalogue", "cuda", "tensorrt_layers", "upright"},
    {"contract"},
    {"target"},
    {"bundle", "native"},
    {"pixels", "budget"},
    {"backends"},
    {"plans"},
    {"building"},
    {"segmenter"},
    {"predict"},
    {"measure"},
    {"report"},
    {"doctor", "remote"},
]
# ---- the torch line: nothing above imports torch ----
BUILD = [
    {"outputs", "processes"},
    {"data", "blocks", "class_map", "attention", "recalled", "synced"},
    {"taps", "cache"},
    {"panels", "golden"},
    {"score", "adopt", "check", "framing", "resnet", "backbones"},
    {"students", "teachers", "foreign", "losses", "distill", "ema", "mixing", "last_layer", "augment"},
    {"networks", "strong", "semi"},
    {"batches", "objectives"},
    {"compress"},
    {"checkpoint"},
    {"train", "validate"},
    {"graph"},
    {"recipes"},
    {"committee"},
    {"labelling", "running"},
    {"pipeline", "chain"},
    {"cli"},
    {"__main__"},
]
RANK = {name: i for i, layer in enumerate([*ROBOT, *BUILD]) for name in layer}
TORCH_LINE = len(ROBOT)
NO_TORCH = {
    "cache",
    "data",
    "score",
    "panels",
    "golden",
    "adopt",
    "check",
    "augment",
    "chain",
    "strong",
    "cli",
    "__main__",
}  # below the line, and free of it

NEEDS_TORCH = {Path("backends/torch_tensorrt.py")}  # above the line, and for machines that have torch

# Third-party modules, and the files or folders that may import them. Engine libraries have one file each.
OWNERS = {
    "numpy": ["."],
    "onnxruntime": ["backends/onnxruntime.py"],
    "torch_tensorrt": ["backends/torch_tensorrt.py"],
    "modelopt": ["backends/torch_tensorrt.py"],  # registers the operator that Torch-TensorRT makes Q/DQ layers of
    "openvino": ["backends/openvino.py", "adopt/ir_model.py"],  # the latter cuts graphs in its format
    "av": ["predict.py", "labelling/footage.py"],
    "PIL": ["predict.py", "data", "augment.py", "strong.py", "batches.py", "panels.py", "labelling"],
    "jinja2": ["report"],
    "jtop": ["measure/jetson.py"],
    "matplotlib": ["report"],
    "rich": ["report", "remote/table.py", "cli"],
    "typer": ["cli"],
    # Below the torch line; torch itself anywhere there.
    "accelerate": ["train.py"],
    "ray": ["labelling/ray_data.py"],
    "safetensors": ["checkpoint.py", "foreign"],
    "onnx": [
        "graph",
        "adopt",
        "check",
        "backends/onnxruntime.py",
    ],  # the last reads the graph that the library has optimised
    "nncf": ["adopt/quantize.py"],
    "onnxscript": ["graph"],
    "segmentation_models_pytorch": ["foreign/segmentation_models.py"],
    "timm": ["backbones.py"],
    "torchvision": ["foreign/torchvision.py", "backbones.py"],
    "transformers": ["foreign/transformers.py"],
}
# What one would reach for first of what came after Python 3.10.
NEWER = {"tomllib", "typing.Self", "typing.assert_never", "typing.override", "enum.StrEnum", "datetime.UTC"}
CATALOGUES = ["backends", "data", "students", "teachers", "foreign", "distill", "semi", "recipes"]

FILES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
TEXTS = ("*.py", "*.md", "*.toml", "*.txt", "*.json", "*.html", "*.jinja", "*.sh", "Makefile", "run")
NOT_OURS = {".git", ".venv", ".hypothesis", "runs", "build", "dist", "results"}


def layer(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


def on_robot(file: Path) -> bool:
    return RANK[layer(file)] < TORCH_LINE


def imports(file: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in it, relative imports resolved."""
    inside = ["edgeseg", *file.parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found |= {".".join([*base, a.name] if is_module([*base, a.name]) else base) for a in node.names}
    return found


def is_module(parts: list[str]) -> bool:
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_every_file_has_a_layer():
    assert {layer(f) for f in FILES} <= set(RANK), "give each its place in ROBOT or BUILD"


def test_imports_point_down():
    faults = []
    for file in FILES:
        for name in imports(file):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0] or "__init__"
            if package != "edgeseg" or other in {"__init__", layer(file)}:
                continue
            if RANK[other] >= RANK[layer(file)]:
                faults.append(f"{file} imports {name}, which is not below it")
    assert not faults, "\n".join(faults)


def test_leaves_of_a_catalogue_never_import_each_other():
    faults = []
    for file in FILES:
        if file.parts[0] in CATALOGUES and file.name != "__init__.py":
            folder, leaf = file.parts[0], file.parts[1].removesuffix(".py")
            for name in imports(file):
                parts = name.split(".")
                if parts[:2] == ["edgeseg", folder] and len(parts) > 2 and parts[2] != leaf:
                    faults.append(f"{file} imports {name}: move what they share out of the catalogue")
    assert not faults, "\n".join(faults)


def test_every_library_is_imported_where_it_belongs():
    faults = []
    for file in [*FILES, Path("__init__.py")]:
        for name in imports(file):
            library = name.partition(".")[0]
            if library in sys.stdlib_module_names or library == "edgeseg":
                continue
            if library == "torch":
                welcome = layer(file) in RANK and not on_robot(file) and layer(file) not in NO_TORCH
                welcome |= file in NEEDS_TORCH
            else:
                owners = map(Path, OWNERS.get(library, []))
                welcome = any(owner == file or owner in file.parents for owner in owners)
            if not welcome:
                faults.append(f"{file} imports {library}; its place is {OWNERS.get(library, 'nowhere yet')}")
    assert not faults, "\n".join(faults)


def test_each_engine_library_has_one_file():
    for backend in backends.names():
        files = [f for f in OWNERS.get(backend, []) if not f.startswith("adopt/")]
        assert files in ([], [f"backends/{backend}.py"])


def test_the_robot_side_is_python_3_10():
    faults = []
    for file in [f for f in FILES if on_robot(f) or layer(f) in {"cli", "__main__"}]:
        tree = ast.parse((PACKAGE / file).read_text(), str(file), feature_version=(3, 10))
        used = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        used |= {f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        faults += [f"{file} uses {name}, which Python 3.10 does not have" for name in used & NEWER]
    assert not faults, "\n".join(faults)


def test_every_file_says_what_it_is():
    silent = [str(f) for f in FILES if not ast.get_docstring(ast.parse((PACKAGE / f).read_text()))]
    assert not silent


def test_nothing_imports_what_is_not_installed():
    outside = {"export", "benchmarks", "tests"}
    assert not [str(f) for f in FILES if outside & {name.partition(".")[0] for name in imports(f)}]


def test_the_robot_side_runs_with_torch_blocked():
    blocked = ["torch", "torchvision", "accelerate", "safetensors", "onnxscript", "PIL", "jinja2", "matplotlib", "av"]
    names = [".".join(["edgeseg", *f.with_suffix("").parts]).removesuffix(".__init__") for f in FILES if on_robot(f)]
    code = f"""
import importlib, sys
for name in {blocked}:
    sys.modules[name] = None
from edgeseg import backends
for name in {names}:
    library = name.removeprefix("edgeseg.backends.")
    if library == name:
        importlib.import_module(name)
        continue
    for target in backends.SPOKEN.get(library, (library,)):
        try:
            backends.get(target)
        except backends.BackendMissing as e:
            print(f"{{target}} is not installed here: {{e}}")
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


def test_requirements_are_ranges_and_pins_live_in_constraints():
    assert not re.findall(r"[\w\]]==\d", (ROOT / "pyproject.toml").read_text())
    pins = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert len(pins) > 10
    odd = [x for x in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.]+(; python_version >= \"3\.11\")?", x)]
    assert not odd


def test_no_file_names_a_package_registry():
    """Which registry pip asks is the user's own setting."""
    parts = (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"), ("pypi", "nvidia", "com"))
    forbidden = [".".join(p) for p in parts] + ["--" + "index-url", "--" + "extra-index-url", "--" + "find-links"]
    texts = [p for pattern in TEXTS for p in ROOT.rglob(pattern) if not NOT_OURS & {*p.relative_to(ROOT).parts}]
    assert len(texts) > len(FILES)
    assert not [(str(p.relative_to(ROOT)), f) for p in texts for f in forbidden if f in p.read_text(errors="replace")]
