#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace report {

// A look at a result that can't fail, whatever it lacks: what is absent, null or of another type
// reads as nothing (0, "", false, no elements), and so does what would lie within. What a null
// means is for who asks: is_null() tells it. The result must outlive it; copies are two words.
class Reader {
 public:
  using Json = nlohmann::ordered_json;

  Reader(const Json& json) : json_(&json) {}  // NOLINT: a result is what is read

  Reader operator[](const char* key) const {
    if (!json_->is_object()) return Null();
    const auto found = json_->find(key);
    return found == json_->end() ? Null() : Reader(*found);
  }
  Reader operator[](const std::string& key) const { return (*this)[key.c_str()]; }
  Reader operator[](size_t index) const {
    return json_->is_array() && index < json_->size() ? Reader((*json_)[index]) : Null();
  }
  Reader front() const { return (*this)[size_t{0}]; }
  Reader back() const { return empty() ? Null() : (*this)[size() - 1]; }

  // Whether there is something by that name: null is nothing.
  bool contains(const char* key) const { return !(*this)[key].is_null(); }
  bool contains(const std::string& key) const { return contains(key.c_str()); }

  bool is_null() const { return json_->is_null(); }
  bool is_string() const { return json_->is_string(); }
  bool is_number() const { return json_->is_number(); }
  size_t size() const { return json_->is_structured() ? json_->size() : 0; }
  bool empty() const { return size() == 0; }

  // A number, a string, a bool, or a list of these.
  template <class T>
  T get() const {
    if constexpr (std::is_same_v<T, std::string>) {
      return json_->is_string() ? json_->get<T>() : T();
    } else if constexpr (std::is_same_v<T, bool>) {
      return json_->is_boolean() && json_->get<T>();
    } else if constexpr (std::is_arithmetic_v<T>) {
      return Number<T>();
    } else {
      T list;
      for (const Reader element : *this) {
        list.push_back(element.template get<typename T::value_type>());
      }
      return list;
    }
  }

  // Its elements; an object's are its values.
  class Iterator {
   public:
    explicit Iterator(Json::const_iterator at) : at_(at) {}
    Reader operator*() const { return Reader(*at_); }
    Iterator& operator++() { return ++at_, *this; }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    Json::const_iterator at_;
  };
  Iterator begin() const { return Iterator(List().begin()); }
  Iterator end() const { return Iterator(List().end()); }

  // The names and values of an object.
  std::vector<std::pair<std::string, Reader>> items() const {
    std::vector<std::pair<std::string, Reader>> all;
    if (!json_->is_object()) return all;
    for (const auto& item : json_->items()) all.emplace_back(item.key(), Reader(item.value()));
    return all;
  }

  bool operator==(const char* text) const { return json_->is_string() && *json_ == text; }
  bool operator==(int number) const { return json_->is_number() && *json_ == number; }

  const Json& json() const { return *json_; }

 private:
  static Reader Null() { return Reader(Nothing()); }
  static const Json& Nothing() {
    static const Json nothing;
    return nothing;
  }
  const Json& List() const { return json_->is_structured() ? *json_ : Nothing(); }

  // What has no room in T is its nearest value there: to convert it would be undefined.
  template <class T>
  T Number() const {
    if (json_->is_number_unsigned()) return Clamped<T>(json_->get<uint64_t>());
    if (json_->is_number_integer()) return Clamped<T>(json_->get<int64_t>());
    return json_->is_number() ? Clamped<T>(json_->get<double>()) : T();
  }
  template <class T, class From>
  static T Clamped(From number) {
    if constexpr (std::is_floating_point_v<T>) {
      return static_cast<T>(number);
    } else if constexpr (std::is_floating_point_v<From>) {
      if (!(number > static_cast<From>(std::numeric_limits<T>::min()))) {  // NaN, too
        return std::numeric_limits<T>::min();
      }
      const bool fits = number < static_cast<From>(std::numeric_limits<T>::max());
      return fits ? static_cast<T>(number) : std::numeric_limits<T>::max();
    } else {
      if (std::in_range<T>(number)) return static_cast<T>(number);
      return std::cmp_less(number, 0) ? std::numeric_limits<T>::min()
                                      : std::numeric_limits<T>::max();
    }
  }

  const Json* json_;
};

}  // namespace report
