#pragma once

#include <string>
#include <string_view>

namespace netcl::ckpt::app {

/// Text from a file as the content of an element or of a quoted attribute: escape()d, so that nothing
/// hides or changes the direction of what is around it, and none of it is markup.
std::string html_text(std::string_view text);

/// One page that needs no network: `main` is its content, HTML already; `title` is text. It follows the reader's
/// choice of dark or light, has a button for it, and where `main` has a table of class "list", a field that hides
/// the rows whose name (their first cell) does not contain what is typed.
std::string html_page(std::string_view title, std::string_view main);

}  // namespace netcl::ckpt::app
