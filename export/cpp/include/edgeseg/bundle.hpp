// A bundle's folder: what was shipped, and that it is still what was shipped. See export/README.md.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "edgeseg/contract.hpp"

namespace edgeseg {

class Bundle {
   public:
    // Throws BundleError where there is none, one of another format, or one whose contract.json has changed since it
    // was sealed; ContractError for a contract that this version cannot honour.
    explicit Bundle(const std::filesystem::path& folder);

    const std::filesystem::path& folder() const { return folder_; }
    const Contract& contract() const { return contract_; }
    const std::string& digest() const { return digest_; }  // the bundle's identity, which plans name

    // The file of a form ("float", "int8", "int8-cpu", ...), ONNX or OpenVINO IR. It is compared with its SHA-256: what
    // runs is what was shipped.
    std::filesystem::path graph(const std::string& form) const;

   private:
    std::filesystem::path folder_;
    Contract contract_;
    std::string digest_;
    std::map<std::string, std::string> files_;  // name: SHA-256
    bool adopted_ = false;

    void verify(const std::string& name) const;
};

}  // namespace edgeseg
