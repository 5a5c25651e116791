#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "terminal.h"

namespace netcl::ckpt::app {

/// Rows of cells in columns as wide as their widest cell, within reason. Cells are escaped already.
class Table {
 public:
  /// `right`: for each column, whether its cells stand to the right.
  explicit Table(std::vector<bool> right) : right_(std::move(right)), widths_(right_.size()) {}

  void add(std::vector<std::string> cells);
  /// A line of its own, which no column is aligned to.
  void add_heading(std::string line) { rows_.push_back({std::move(line)}); }
  void write(Output& out) const;

 private:
  std::vector<bool> right_;
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace netcl::ckpt::app
