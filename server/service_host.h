#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>

#include "services/all.h"

namespace server {

// One object of each service, and a session of any of them: so that one loop serves listeners of
// different services. A service is picked by its number, its place in services::All.
template <class List>
class ServiceHostOf;

template <class... Services>
class ServiceHostOf<services::List<Services...>> {
 public:
  using Session = std::variant<typename Services::Session...>;
  static constexpr uint8_t kNone = sizeof...(Services);

  explicit ServiceHostOf(const services::ServiceOptions& options)
      : services_((static_cast<void>(sizeof(Services)), options)...) {}

  // kNone where there is none of that name.
  static uint8_t NumberOf(std::string_view name) {
    uint8_t number = 0;
    (void)((name == Services::kName ? true : (++number, false)) || ...);
    return number;
  }

  // Calls f(service, I), I being the number as a constant. The first is tried first: echo, which is
  // what is measured.
  template <class F>
  void With(uint8_t number, F&& f) {
    if (number == 0) [[likely]] {
      return f(std::get<0>(services_), std::integral_constant<size_t, 0>());
    }
    Call(number, f, std::index_sequence_for<Services...>());
  }

 private:
  template <class F, size_t... I>
  void Call(uint8_t number, F& f, std::index_sequence<I...>) {
    (void)((number == I ? (f(std::get<I>(services_), std::integral_constant<size_t, I>()), true)
                        : false) ||
           ...);
  }

  std::tuple<Services...> services_;
};

using ServiceHost = ServiceHostOf<services::All>;

}  // namespace server
