"""A bundle of every student, untrained, at a quarter of its width."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.bundle import Bundle, seal
from edgeseg.contract import Contract

SIZE_HW = (64, 96)


@pytest.fixture(scope="session")
def student_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    torch = pytest.importorskip("torch")
    import onnx

    from edgeseg import students
    from edgeseg.compress import qat
    from edgeseg.graph import export, onnx_file
    from edgeseg.graph.deploy import deploy

    root: Path = tmp_path_factory.mktemp("students")
    found = {}
    for name in students.names():
        torch.manual_seed(0)
        student = students.get(name)(3, width=0.25)
        student.train()(torch.randn(2, 3, *SIZE_HW))
        quantized = qat.prepare(student.eval(), input_scale=1 / 128)
        qat.calibrate(quantized, [torch.randn(1, 3, *SIZE_HW).clamp(-1, 1)])
        contract = Contract(
            size_hw=SIZE_HW,
            classes=("a", "b", "c"),
            colors=((0, 0, 0),) * 3,
            stride=int(student.stride),
            mean=(128 / 255,) * 3,
            std=(128 / 255,) * 3,
        )
        path = root / name
        path.mkdir()
        (path / "contract.json").write_text(contract.to_json())
        onnx_file.write(deploy(student), contract, path / "float.onnx")
        onnx_file.write(deploy(quantized.eval()), contract, path / "int8.onnx")
        onnx_file.save(export.cpu_form(onnx.load(path / "int8.onnx")), path / "int8-cpu.onnx")
        seal(path, {"convolutions": {"int8": [], "float": []}})
        found[name] = Bundle.load(path)
    return found
