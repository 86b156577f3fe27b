// The kernels as a Python module. What the arrays must be is checked in edgeseg/pixels.py, for people; here it is
// checked again, for memory's sake. The GIL is released, and each thread keeps buffers of its own.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <cmath>
#include <edgeseg/frame_to_input.hpp>
#include <edgeseg/overlay.hpp>
#include <edgeseg/upsample_argmax.hpp>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>

namespace nb = nanobind;
using nb::device::cpu;

using Array = nb::ndarray<nb::ro, nb::c_contig, cpu>;
using Picture = nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, cpu>;
using Palette = nb::ndarray<const std::uint8_t, nb::shape<256, 3>, nb::c_contig, cpu>;
using Map = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, cpu>;
using NewMap = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, cpu>;
using NewShares = nb::ndarray<float, nb::ndim<2>, nb::c_contig, cpu>;
using NewPicture = nb::ndarray<std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, cpu>;
using NewInput = nb::ndarray<std::uint8_t, nb::shape<1, -1, -1, 3>, nb::c_contig, cpu>;

namespace {

void require(bool holds, const char* what) {
    if (!holds) {
        throw std::invalid_argument(what);
    }
}

edgeseg::Frame view(const Picture& frame) {
    return {frame.data(),    static_cast<int>(frame.shape(0)), static_cast<int>(frame.shape(1)),
            frame.stride(0), frame.stride(1),                  frame.stride(2)};
}

template <class A, class B>
bool same_size(const A& a, const B& b) {
    return a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1);
}

edgeseg::Coordinates coordinates_of(std::string_view name) {
    require(name == "half_pixel" || name == "align_corners" || name == "asymmetric", "coordinates");
    return name == "half_pixel"    ? edgeseg::Coordinates::half_pixel
           : name == "asymmetric" ? edgeseg::Coordinates::asymmetric
                                  : edgeseg::Coordinates::align_corners;
}

template <class T>
void label(const Array& array, bool channels_last, float scale, edgeseg::Activation activation,
           const edgeseg::Resampling& how, const edgeseg::Labels& to, const edgeseg::Overlay* over) {
    thread_local edgeseg::Labeller labeller;
    const int a = static_cast<int>(array.shape(0)), b = static_cast<int>(array.shape(1)),
              c = static_cast<int>(array.shape(2));
    const auto* const data = static_cast<const T*>(array.data());
    const edgeseg::Logits<T> logits =
        channels_last ? edgeseg::Logits<T>{data, c, a, b, true, scale, activation}
                      : edgeseg::Logits<T>{data, a, b, c, false, scale, activation};
    require(logits.classes >= 1 && logits.classes <= 255, "expected 1 to 255 classes");
    const nb::gil_scoped_release released;
    labeller(logits, how, to, over);
}

void upsample_argmax(const Array& logits, const NewMap& labels, bool channels_last, std::string_view coordinates,
                     std::string_view interpolation, bool softmax, std::tuple<float, float, float, float> window,
                     float scale, const std::optional<NewShares>& confidence, const std::optional<Picture>& frame,
                     const std::optional<Palette>& palette, float alpha, const std::optional<NewPicture>& picture) {
    require(logits.ndim() == 3 && logits.size() > 0 && labels.size() > 0, "empty, or not three dimensions");
    require(!confidence || same_size(*confidence, labels), "confidence of another size than labels");
    const auto activation = softmax ? edgeseg::Activation::softmax : edgeseg::Activation::none;
    const auto [top, left, height, width] = window;
    require((height > 0 && width > 0) || (height == 0 && width == 0), "an empty window");
    require(std::isfinite(top) && std::isfinite(left) && std::isfinite(height) && std::isfinite(width), "window");
    const edgeseg::Resampling how{
        coordinates_of(coordinates),
        interpolation == "nearest" ? edgeseg::Interpolation::nearest : edgeseg::Interpolation::bilinear,
        top, left, height, width};
    const edgeseg::Labels to{labels.data(), static_cast<int>(labels.shape(0)), static_cast<int>(labels.shape(1)),
                             confidence ? confidence->data() : nullptr};
    edgeseg::Overlay over;
    if (picture) {
        require(frame && palette, "a picture needs a frame and a palette");
        require(same_size(*frame, labels) && same_size(*picture, labels), "frame and picture are of the labels' size");
        require(alpha >= 0.0f && alpha <= 1.0f, "alpha is from 0 to 1");
        over = {view(*frame), palette->data(), alpha, picture->data()};
    }
    const edgeseg::Overlay* const asked = picture ? &over : nullptr;
    if (logits.dtype() == nb::dtype<float>()) {
        label<float>(logits, channels_last, scale, activation, how, to, asked);
    } else if (logits.dtype() == nb::dtype<std::int8_t>()) {
        label<std::int8_t>(logits, channels_last, scale, activation, how, to, asked);
    } else if (logits.dtype() == nb::dtype<std::uint8_t>()) {
        label<std::uint8_t>(logits, channels_last, scale, activation, how, to, asked);
    } else {
        const nb::dlpack::dtype half{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
        require(logits.dtype() == half, "logits are float32, float16, int8 or uint8");
        label<edgeseg::Half>(logits, channels_last, scale, activation, how, to, asked);
    }
}

void frame_to_input(const Picture& frame, const NewInput& out, bool swap_channels, bool letterbox,
                    std::uint8_t border) {
    thread_local edgeseg::Packer packer;
    require(frame.size() > 0 && out.size() > 0, "empty");
    const edgeseg::Input input{static_cast<int>(out.shape(1)), static_cast<int>(out.shape(2)), swap_channels,
                               letterbox ? edgeseg::Fit::letterbox : edgeseg::Fit::stretch, border};
    const edgeseg::Frame pixels = view(frame);
    std::uint8_t* const to = out.data();
    const nb::gil_scoped_release released;
    packer(pixels, input, to);
}

void overlay(const Map& labels, const Picture& frame, const Palette& palette, float alpha, const NewPicture& picture) {
    thread_local edgeseg::Blend work;
    require(same_size(labels, frame) && same_size(labels, picture), "labels, frame and picture are of one size");
    require(alpha >= 0.0f && alpha <= 1.0f, "alpha is from 0 to 1");
    const edgeseg::Frame pixels = view(frame);
    const nb::gil_scoped_release released;
    edgeseg::overlay(labels.data(), pixels, palette.data(), alpha, picture.data(), work);
}

}  // namespace

NB_MODULE(_kernels, m) {
    using namespace nb::literals;
    // noconvert: an array of another type or layout is an error, not a copy that is filled and thrown away.
    m.def("upsample_argmax", &upsample_argmax, "logits"_a.noconvert(), "labels"_a.noconvert(), nb::kw_only(),
          "channels_last"_a, "coordinates"_a, "interpolation"_a, "softmax"_a, "window"_a, "scale"_a,
          "confidence"_a.noconvert().none() = nb::none(), "frame"_a.noconvert().none() = nb::none(),
          "palette"_a.noconvert().none() = nb::none(), "alpha"_a = 0.5f,
          "picture"_a.noconvert().none() = nb::none());
    m.def("frame_to_input", &frame_to_input, "frame"_a.noconvert(), "out"_a.noconvert(), nb::kw_only(),
          "swap_channels"_a, "letterbox"_a, "border"_a);
    m.def("overlay", &overlay, "labels"_a.noconvert(), "frame"_a.noconvert(), "palette"_a.noconvert(), "alpha"_a,
          "picture"_a.noconvert());
}
