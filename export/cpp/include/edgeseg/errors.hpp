// Everything that the segmenter throws on purpose, and the exit code that each ends a program with.
//
//     Error                 1  our failure, or a library's
//       UserError           2  something the caller can put right; the message says how
//         ContractError        a frame, a file or a network breaks the promise of its contract
//         BundleError          a bundle is missing, incomplete, changed or of another format
//         PlanError            a plan was built for another bundle, library version or device
//         BackendMissing       this program was built without the library that a target needs
#pragma once

#include <stdexcept>

namespace edgeseg {

class Error : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
    virtual int exit_code() const noexcept { return 1; }
};

class UserError : public Error {
   public:
    using Error::Error;
    int exit_code() const noexcept override { return 2; }
};

class ContractError : public UserError {
   public:
    using UserError::UserError;
};

class BundleError : public UserError {
   public:
    using UserError::UserError;
};

class PlanError : public UserError {
   public:
    using UserError::UserError;
};

class BackendMissing : public UserError {
   public:
    using UserError::UserError;
};

}  // namespace edgeseg
