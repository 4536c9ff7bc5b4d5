#include "report/parse.h"

#include <cstdint>
#include <iterator>
#include <vector>

namespace report {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDepthMax = 64;
constexpr size_t kMembersMax = 1000;

// Bytes that tell how far they have been read.
struct Bytes {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** read;

  reference operator*() const { return *at; }
  Bytes& operator++() {
    *read = ++at;
    return *this;
  }
  Bytes operator++(int) {
    const Bytes before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Bytes& other) const { return at == other.at; }
  bool operator!=(const Bytes& other) const { return at != other.at; }
};

// Looks at each value before any is kept.
class Bounds : public nlohmann::json_sax<Json> {
 public:
  explicit Bounds(size_t* values_left) : values_left_(values_left) {}

  const std::string& problem() const { return problem_; }
  bool damaged() const { return damaged_; }
  size_t byte() const { return byte_; }

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t&) override { return Value(); }
  bool binary(binary_t&) override { return Value(); }
  bool start_object(std::size_t) override { return Begin(); }
  bool end_object() override { return End(); }
  bool start_array(std::size_t) override { return Begin(); }
  bool end_array() override { return End(); }
  bool key(string_t&) override {
    return ++members_.back() <= kMembersMax || Wrong("more than 1,000 members in one object");
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    constexpr int kNumberOverflow = 406;
    byte_ = position;
    if (error.id == kNumberOverflow) return Wrong("a number that is out of range");
    damaged_ = true;
    return Wrong("not JSON");
  }

 private:
  bool Wrong(const char* what) {
    problem_ = what;
    return false;
  }
  bool Value() {
    if (*values_left_ == 0) return Wrong("more values than any result has");
    --*values_left_;
    return true;
  }
  bool Begin() {
    if (members_.size() == kDepthMax) return Wrong("more than 64 levels of nesting");
    members_.push_back(0);
    return Value();
  }
  bool End() {
    members_.pop_back();
    return true;
  }

  size_t* const values_left_;
  std::vector<size_t> members_;  // of the objects and arrays that are open
  std::string problem_;
  size_t byte_ = 0;
  bool damaged_ = false;
};

}  // namespace

Parsed ParseJson(std::string_view text, size_t* values_left) {
  Bounds bounds(values_left);
  const char* read = text.data();
  const char* end = text.data() + text.size();
  Parsed parsed;
  if (Json::sax_parse(Bytes{text.data(), &read}, Bytes{end, &read}, &bounds)) {
    parsed.json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    return parsed;
  }
  parsed.problem = bounds.problem();
  parsed.damaged = bounds.damaged();
  parsed.byte = bounds.byte() > 0 ? bounds.byte() : static_cast<size_t>(read - text.data());
  if (parsed.byte == 0) parsed.byte = 1;
  return parsed;
}

}  // namespace report
