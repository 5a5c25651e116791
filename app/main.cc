#include <signal.h>

#include <exception>

#include "commands.h"
#include "log.h"

int main(int argc, char** argv) {
  using namespace netcl::ckpt::app;
  signal(SIGPIPE, SIG_IGN);  // a reader that went away is seen by write()
  signal(SIGXFSZ, SIG_IGN);  // and so is a limit on the size of files
  try {
    return run_command_line(argc, argv);
  } catch (const std::bad_alloc&) {
    log_error("not enough memory");
  } catch (const std::exception&) {
    log_error("unexpected failure; please report it");
  }
  return kFailed;
}
