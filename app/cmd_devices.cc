// netcl-ckpt devices
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "log.h"
#include "netcl/ckpt/device.h"
#include "options.h"
#include "render_human.h"
#include "render_json.h"
#include "table.h"

namespace netcl::ckpt::app {
namespace {

std::string abilities(const DeviceInfo& d) {
  std::string out;
  for (const auto& [has, word] : {std::pair(d.fp16, "fp16"), std::pair(d.fp64, "fp64"), std::pair(d.svm, "svm"),
                                  std::pair(d.unified_memory, "unified memory")}) {
    if (has) out += fmt::format("{}{}", out.empty() ? "" : ", ", word);
  }
  return out;
}

void render_human(const std::vector<DeviceInfo>& devices, Output& out) {
  Table table({true, false, false, true, true, false, false});
  table.add({"", "device", "type", "memory", "largest buffer", "has", "driver"});
  for (const DeviceInfo& d : devices) {
    table.add({std::to_string(d.index), escape(d.name), to_string(d.type), bytes_text(d.memory_bytes),
               bytes_text(d.max_allocation_bytes), abilities(d), escape(d.platform + " " + d.driver)});
  }
  table.write(out);
}

int run(const CommonOptions& options) {
  options.apply();
  const auto devices = list_devices();
  if (!devices) {
    log_error(devices.error());
    return kFailed;
  }
  Output out;
  options.json ? render_json(*devices, out) : render_human(*devices, out);
  return finish(out, kDone);
}

}  // namespace

Action add_devices_options(CLI::App& command) {
  auto options = std::make_shared<CommonOptions>();
  options->add_to(command);
  command.footer(
      "Exit code: 0 there is one, 2 there is no OpenCL driver or no device.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt devices\n"
      "  netcl-ckpt devices --json\n"
      "  netcl-ckpt verify --device 0 iter_1000.npz\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
