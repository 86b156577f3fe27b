// plan.json: what an engine that was built for one device was built from, and for what.
#pragma once

#include <filesystem>
#include <string>

namespace edgeseg {

// What this bundle, library and device ask of a plan.
struct PlanWanted {
    std::string backend, precision;  // "trt", "int8"
    std::string bundle_digest;
    std::string version;  // of the library, "10.3.0": that of a plan may go on after these three numbers
    std::string machine;  // "linux-aarch64"
    std::string device;   // compute capability, "sm87"
    std::string rebuild;  // the command that makes such a plan
    bool unverified;      // whether it may be one whose golden frames nobody has run on the device
};

// Throws PlanError, with the command that rebuilds, where the folder holds no plan, or one that does
// not fit or has not been verified.
void check_plan(const std::filesystem::path& folder, const PlanWanted& wanted);

}  // namespace edgeseg
