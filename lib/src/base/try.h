#pragma once

#include <fmt/format.h>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "netcl/ckpt/error.h"

// Two macros instead of an if after every call that may fail:
//
//   CKPT_TRY(auto header, parse_npy_header(bytes));   // declares `header`, or returns the Error
//   CKPT_CHECK(source->read_at(offset, buffer));      // for Result<void>

#define CKPT_CONCAT_INNER(a, b) a##b
#define CKPT_CONCAT(a, b) CKPT_CONCAT_INNER(a, b)
#define CKPT_TRY(declaration, expression) CKPT_TRY_INNER(CKPT_CONCAT(try_result_, __LINE__), declaration, expression)
#define CKPT_TRY_INNER(result, declaration, expression)                 \
  auto result = (expression);                                           \
  if (!result) return ::tl::make_unexpected(std::move(result.error())); \
  declaration = std::move(*result)
#define CKPT_CHECK(expression)                                                          \
  do {                                                                                  \
    auto check_result_ = (expression);                                                  \
    if (!check_result_) return ::tl::make_unexpected(std::move(check_result_.error())); \
  } while (false)

namespace netcl::ckpt {

/// `return fail(ErrorCode::corrupt, "method {} is unknown", method);`
template <class... Args>
tl::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  Error e;
  e.code = code;
  e.message = fmt::format(format, std::forward<Args>(args)...);
  return tl::make_unexpected(std::move(e));
}

/// The same with the place: `fail_at(ErrorCode::corrupt, "a.npy", 128, "…")`.
template <class... Args>
tl::unexpected<Error> fail_at(ErrorCode code, std::string_view member, std::optional<std::uint64_t> offset_bytes,
                              fmt::format_string<Args...> format, Args&&... args) {
  Error e;
  e.code = code;
  e.message = fmt::format(format, std::forward<Args>(args)...);
  e.member = member;
  e.offset_bytes = offset_bytes;
  return tl::make_unexpected(std::move(e));
}

/// The same of a whole file: `fail_in(path, ErrorCode::unsupported, "…")`.
template <class... Args>
tl::unexpected<Error> fail_in(std::string file, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  auto error = fail(code, format, std::forward<Args>(args)...);
  error.value().file = std::move(file);
  return error;
}

/// The same with a way out, see Error::way_out.
inline tl::unexpected<Error> with_way_out(tl::unexpected<Error> error, std::string way_out) {
  error.value().way_out = std::move(way_out);
  return error;
}

/// A file is in the way, and the caller did not ask for its replacement.
inline tl::unexpected<Error> fail_exists(std::string file) {
  return with_way_out(fail_in(std::move(file), ErrorCode::invalid_argument, "exists already"), "`replace` replaces it");
}

/// What the operating system refused, by its `errno`; `what` may be "".
tl::unexpected<Error> fail_io(int os_errno, std::string file, std::string_view what);

/// The result, whose error names `file` if it names none.
template <class T>
Result<T> in_file(Result<T> result, const std::string& file) {
  if (!result && result.error().file.empty()) result.error().file = file;
  return result;
}

/// Whether an error is the machine's and says nothing about the file, which was not looked at: never a finding.
inline bool could_not_look(ErrorCode code) { return code == ErrorCode::io || code == ErrorCode::out_of_memory; }

/// The public edge: runs `body` and turns the two exceptions that the standard library throws on a
/// failed allocation, and whatever a caller's function throws, into an Error. Every public function that may allocate
/// goes through here.
template <class Body>
auto guarded(Body&& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::out_of_memory, "not enough memory");
  } catch (const std::length_error&) {
    return fail(ErrorCode::out_of_memory, "not enough memory");
  } catch (const std::exception& e) {
    return fail(ErrorCode::internal, "unexpected failure inside netcl-ckpt ({})", e.what());
  } catch (...) {
    return fail(ErrorCode::internal, "a function that was passed to netcl-ckpt has thrown what is no std::exception");
  }
}

}  // namespace netcl::ckpt
