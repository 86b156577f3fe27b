// A camera, or a film, with its labels laid over it; needs OpenCV.
//
//     camera bundle 0                     the first camera, in a window; q or Escape ends it
//     camera bundle drive.mp4 out.mp4     a film, into another
#include <chrono>
#include <cstdio>
#include <edgeseg/segmenter.hpp>
#include <exception>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double ms(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

cv::VideoCapture open(const std::string& source) {
    const bool number = !source.empty() && source.find_first_not_of("0123456789") == std::string::npos;
    cv::VideoCapture camera = number ? cv::VideoCapture(std::stoi(source)) : cv::VideoCapture(source);
    if (!camera.isOpened()) {
        throw edgeseg::UserError("OpenCV cannot open '" + source + "': expected a camera's number or a film's path");
    }
    return camera;
}

// What a frame took, in its upper left corner and on stdout.
void report(cv::Mat& picture, double prepare, double engine, double label) {
    char text[96];
    std::snprintf(text, sizeof text, "%.2f ms to prepare, %.2f in the engine, %.2f to labels", prepare, engine, label);
    std::printf("%s\n", text);
    cv::putText(picture, text, {8, 24}, cv::FONT_HERSHEY_SIMPLEX, 0.6, {0, 0, 0}, 4, cv::LINE_AA);
    cv::putText(picture, text, {8, 24}, cv::FONT_HERSHEY_SIMPLEX, 0.6, {255, 255, 255}, 1, cv::LINE_AA);
}

void run(const edgeseg::Target& target, const std::string& bundle, const std::string& source, const std::string& out) {
    edgeseg::Segmenter segmenter(bundle, target);
    cv::VideoCapture camera = open(source);
    cv::VideoWriter film;
    cv::Mat frame, picture;
    std::vector<std::uint8_t> labels;
    while (camera.read(frame)) {
        if (frame.type() != CV_8UC3) {
            throw edgeseg::UserError("expected frames of 3 channels of 8 bits from '" + source + "'");
        }
        const edgeseg::Image image{frame.data, frame.rows, frame.cols, edgeseg::Color::bgr,
                                   static_cast<std::ptrdiff_t>(frame.step[0])};
        labels.resize(frame.total());
        picture.create(frame.size(), CV_8UC3);
        const auto start = Clock::now();
        const std::uint8_t* const pixels = segmenter.prepare(image);
        const auto prepared = Clock::now();
        const edgeseg::Answer answer = segmenter.infer(pixels);
        const auto inferred = Clock::now();
        segmenter.overlay(answer, image, labels.data(), picture.data);
        report(picture, ms(start, prepared), ms(prepared, inferred), ms(inferred, Clock::now()));
        if (out.empty()) {
            cv::imshow("edgeseg", picture);
            const int key = cv::waitKey(1);
            if (key == 'q' || key == 27) {
                return;
            }
            continue;
        }
        if (!film.isOpened()) {
            const double rate = camera.get(cv::CAP_PROP_FPS);
            film.open(out, cv::VideoWriter::fourcc('m', 'p', '4', 'v'), rate > 0 ? rate : 30, frame.size());
            if (!film.isOpened()) {
                throw edgeseg::UserError("OpenCV cannot write '" + out + "': does the folder exist? is it an .mp4?");
            }
        }
        film.write(picture);
    }
}

}  // namespace

int main(int count, char** words) {
    try {
        if (count < 3 || count > 6) {
            throw edgeseg::UserError("usage: camera BUNDLE CAMERA|FILM [OUT.mp4|- [TARGET [PRECISION]]]");
        }
        edgeseg::Target target;
        target.backend = count > 4 ? words[4] : target.backend;
        target.precision = count > 5 ? words[5] : target.precision;
        const std::string out = count > 3 && words[3] != std::string("-") ? words[3] : "";
        run(target, words[1], words[2], out);
        return 0;
    } catch (const edgeseg::Error& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return e.exit_code();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
