"""The checker's word against the real parser's and builder's: TensorRT-RTX does both without a GPU."""

from __future__ import annotations

import pytest

trt = pytest.importorskip("tensorrt_rtx_bindings")
onnx = pytest.importorskip("onnx")
from faults import FAULTS  # noqa: E402

from edgeseg.check import check_graph, operators  # noqa: E402
from edgeseg.check.findings import STOPS  # noqa: E402
from edgeseg.check.network import Network  # noqa: E402
from edgeseg.check.readers import RTX_VERSION, Reader  # noqa: E402

pytestmark = pytest.mark.tensorrt
RTX = Reader("trt-rtx", RTX_VERSION)


@pytest.fixture(scope="module")
def builder():
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    return trt.Builder(logger), logger


def builds(builder, model) -> str:
    """What TensorRT-RTX says against a model; nothing where it builds an engine."""
    factory, logger = builder
    network = factory.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        return str(parser.get_error(0))
    config = factory.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = factory.create_optimization_profile()
    for i in range(network.num_inputs):
        shape = tuple(8 if n < 0 else n for n in network.get_input(i).shape)
        if -1 in tuple(network.get_input(i).shape):
            profile.set_shape(network.get_input(i).name, shape, shape, shape)
            config.add_optimization_profile(profile)
    return "" if factory.build_serialized_network(network, config) else "the builder refused"


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.crashes])
def test_what_is_refused_is_refused(name, builder):
    model = FAULTS[name].make()
    found = check_graph(Network(model), RTX)
    refused = [f.message for f in found if f.severity == "refused"]
    said = builds(builder, model)
    assert bool(refused) == bool(said), said or refused


def test_every_operator_is_known_as_the_parser_knows_it(builder):
    factory, logger = builder
    network = factory.create_network(0)  # the parser keeps no reference to it
    parser = trt.OnnxParser(network, logger)
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    names |= operators.IN_8_6 | set(operators.SINCE)
    assert len(names) > 190
    assert {n for n in names if parser.supports_operator(n)} == {n for n in names if operators.supported(n, RTX)}


def test_students_build(builder, published):
    for bundle in published.values():
        for name in ("int8.onnx", "int8-cpu.onnx"):  # tests/graph/test_ahead.py builds the others
            model = onnx.load(bundle.path / name)
            stopped = [f for f in check_graph(Network(model), RTX) if f.severity in STOPS]
            assert bool(stopped) == bool(builds(builder, model)) == (name == "int8-cpu.onnx")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_standard_model_is_refused_for_nothing(builder):
    """ONNX's own tests of its operators, some 1800 models, of which many ask for what no parser does."""
    from onnx.backend.test.case.node import collect_testcases

    agree, wronged, asked = 0, [], 0
    for case in collect_testcases(None):
        if case.model is None or {o.domain for o in case.model.opset_import} - {""}:
            continue
        refused = any(f.severity == "refused" for f in check_graph(Network(case.model), RTX))
        network = builder[0].create_network(0)
        said = not trt.OnnxParser(network, builder[1]).parse(case.model.SerializeToString())
        asked += 1
        agree += refused == said
        if refused and not said and not builds(builder, case.model):
            wronged.append(case.name)
    assert asked > 1500
    assert agree / asked > 0.9
    assert not wronged
