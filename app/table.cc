// Columns for people.
#include "table.h"

#include <algorithm>

namespace netcl::ckpt::app {
namespace {

constexpr std::size_t kMaxColumn = 60;  // wider cells push their own line only

}  // namespace

void Table::add(std::vector<std::string> cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    widths_[i] = std::max(widths_[i], std::min(display_width(cells[i]), kMaxColumn));
  }
  rows_.push_back(std::move(cells));
}

void Table::write(Output& out) const {
  for (const auto& row : rows_) {
    if (row.size() == 1) {
      out << row[0] << "\n";
      continue;
    }
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths_[i] == 0) continue;  // nothing in any row
      const std::size_t width = display_width(row[i]);
      const std::string padding(widths_[i] > width ? widths_[i] - width : 0, ' ');
      line += "  ";
      line += right_[i] ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << "\n";
    if (out.closed()) return;
  }
}

}  // namespace netcl::ckpt::app
