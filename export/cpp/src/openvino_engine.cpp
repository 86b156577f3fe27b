// OpenVINO on the CPU, https://docs.openvino.ai, set up as edgeseg/backends/openvino.py does: the same numbers.
#include <algorithm>
#include <map>
#include <openvino/op/constant.hpp>
#include <openvino/op/result.hpp>
#include <openvino/op/strided_slice.hpp>
#include <openvino/op/util/max_pool_base.hpp>
#include <openvino/openvino.hpp>

#include "edgeseg/errors.hpp"
#include "engines.hpp"

namespace edgeseg {
namespace {

struct Form {
    const char* graph;
    ov::element::Type hint;  // said always: on CPUs with bf16 OpenVINO would otherwise run "fp32" in bf16
};

const Form& form_of(const Target& target) {
    static const std::map<std::string, Form> forms = {
        {"fp32", {"float", ov::element::f32}},
        {"bf16", {"float", ov::element::bf16}},
        {"int8", {"int8-cpu", ov::element::f32}},
    };
    const auto found = forms.find(target.precision);
    if (found == forms.end()) {
        throw UserError("openvino runs precision fp32, bf16 or int8, got '" + target.precision + "'");
    }
    return found->second;
}

// One for the life of the process, and never destroyed: with the last of them goes the alternate signal stack that the
// CPU plugin has given some thread (seen in 2026.4).
ov::Core& core() {
    static auto* const only = new ov::Core();
    return *only;
}

// A max-pool over one pixel that keeps them all; with strides, as in a network from elsewhere, it thins them.
bool is_identity(const ov::op::util::MaxPoolBase& pool) {
    const auto all = [](const auto& sides, std::size_t value) {
        return std::all_of(sides.begin(), sides.end(), [&](std::size_t side) { return side == value; });
    };
    return pool.get_kernel().size() == 2 && all(pool.get_kernel(), 1) && all(pool.get_strides(), 1) &&
           all(pool.get_pads_begin(), 0) && all(pool.get_pads_end(), 0);
}

// Holds the roundings before sums by a second reader instead of a 1x1 max-pool, which copies the whole map; see
// read_twice() in edgeseg/backends/openvino.py.
void read_twice(const std::shared_ptr<ov::Model>& model) {
    const auto four = [](std::int64_t value) {
        return ov::op::v0::Constant::create(ov::element::i64, {4}, std::vector<std::int64_t>(4, value));
    };
    const auto begin = four(0), end = four(1), step = four(1);
    const std::vector<std::int64_t> unmasked(4, 0);
    for (const auto& op : model->get_ordered_ops()) {
        const auto pool = ov::as_type_ptr<ov::op::util::MaxPoolBase>(op);
        if (!pool || !is_identity(*pool)) {
            continue;
        }
        const ov::Output<ov::Node> held = pool->input_value(0);
        for (ov::Input<ov::Node> reader : pool->output(0).get_target_inputs()) {
            reader.replace_source_output(held);
        }
        const auto corner = std::make_shared<ov::op::v1::StridedSlice>(held, begin, end, step, unmasked, unmasked);
        model->add_results({std::make_shared<ov::op::v0::Result>(corner)});
    }
    model->validate_nodes_and_infer_types();
}

// The same numbers in the form that the CPU plugin runs fastest: logits (1, h, w, K), as the last convolution leaves
// them, because putting them into planes takes longer than labelling.
std::shared_ptr<ov::Model> as_run(const std::shared_ptr<ov::Model>& model) {
    read_twice(model);
    if (model->output(0).get_partial_shape().size() != 4) {
        return model;
    }
    ov::preprocess::PrePostProcessor order(model);
    order.output(0).model().set_layout("NCHW");
    order.output(0).tensor().set_layout("NHWC");
    return order.build();
}

Sides sides_of(const ov::PartialShape& shape) {
    Sides sides;
    for (const auto& side : shape) {
        sides.push_back(side.is_static() ? side.get_length() : -1);
    }
    return sides;
}

Integer integer_of(const ov::element::Type& type, const std::string& where) {
    if (type == ov::element::u8) {
        return Integer::u8;
    }
    if (type == ov::element::i32) {
        return Integer::i32;
    }
    if (type == ov::element::i64) {
        return Integer::i64;
    }
    throw ContractError(where + ": expected labels as u8, i32 or i64, got " + type.to_string());
}

class OpenvinoEngine final : public Engine {
   public:
    OpenvinoEngine(const Bundle& bundle, const Target& target) {
        const Form& form = form_of(target);
        const std::filesystem::path graph = bundle.graph(form.graph);
        const auto model = core().read_model(graph.string());
        check(bundle.contract(), graph.string(), *model);
        ov::AnyMap options = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                              ov::hint::inference_precision(form.hint)};
        if (target.threads > 0) {
            options.insert(ov::inference_num_threads(target.threads));
        }
        request = core().compile_model(as_run(model), "CPU", options).create_infer_request();
        given = own = request.get_input_tensor();
        answer = answer_of(bundle.contract(), graph.string());
    }

    Answer operator()(const std::uint8_t* pixels) override {
        if (pixels != given.data()) {
            // Never written to: the interface before 2025.4 has no other pointer.
            given = ov::Tensor(own.get_element_type(), own.get_shape(), const_cast<std::uint8_t*>(pixels));
            request.set_input_tensor(given);
        }
        request.infer();
        return answer;
    }

    std::uint8_t* input() override { return own.data<std::uint8_t>(); }

    std::string library() const override {
        const std::string build = ov::get_openvino_version().buildNumber;
        return "openvino " + build.substr(0, build.find('-'));
    }

   private:
    ov::InferRequest request;
    ov::Tensor own, given;
    Answer answer;

    static void check(const Contract& contract, const std::string& where, const ov::Model& model) {
        const auto input = model.input(0), output = model.output(0);
        check_tensors(contract, where, sides_of(input.get_partial_shape()), sides_of(output.get_partial_shape()));
        if (input.get_names().count(contract.input_name) == 0 || output.get_names().count(contract.output_name) == 0) {
            throw ContractError(where + ": expected tensors '" + contract.input_name + "' and '" +
                                contract.output_name + "' as contract.json says: export the bundle again");
        }
        if (input.get_element_type() != ov::element::u8) {
            throw ContractError(where + ": expected pixels as u8, got " + input.get_element_type().to_string());
        }
        if (contract.output == Output::logits && output.get_element_type() != ov::element::f32) {
            throw ContractError(where + ": expected logits as f32, got " + output.get_element_type().to_string());
        }
    }

    Answer answer_of(const Contract& contract, const std::string& where) {
        const ov::Tensor out = request.get_output_tensor(0);
        Answer made;
        made.classes = static_cast<int>(contract.classes.size());
        made.height = contract.logits_height(), made.width = contract.logits_width();
        if (contract.output == Output::logits) {
            made.channels_last = true;
            made.logits = out.data<const float>();
        } else {
            made.type = integer_of(out.get_element_type(), where);
            made.labels = out.data();
        }
        return made;
    }
};

}  // namespace

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Target& target) {
    try {
        return std::make_unique<OpenvinoEngine>(bundle, target);
    } catch (const ov::Exception& e) {
        throw Error(std::string("openvino cannot run ") + bundle.folder().string() + ": " + one_line(e.what()));
    }
}

}  // namespace edgeseg
