#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/compare_flags.h"

// A file of arms and scenarios for `ringside compare --matrix`.
namespace cli {

struct MatrixArm {
  std::string text;  // as --arm takes it
  std::string load;  // flags of load for it alone
  std::string name;
  std::string origin;  // "matrix x.toml, line 7"
};

struct MatrixScenario {
  ScenarioFlags flags;
  std::string origin;
};

struct Matrix {
  std::vector<MatrixArm> arms;
  std::vector<MatrixScenario> scenarios;
};

// Reads a matrix. Its keys at the top are flags of `compare`: they are set where `f` has no value
// from elsewhere, and what they say of scenarios holds for each [[scenario]] that doesn't say
// otherwise. InvalidArgument: one sentence that names file and line, with "did you mean" where a
// name is near a known one. NotFound and the like where it can't be read.
absl::StatusOr<Matrix> ReadMatrix(const std::string& path, CompareFlags* f);

// A matrix with comments that plays as it is: what --init writes.
std::string ExampleMatrix();

}  // namespace cli
