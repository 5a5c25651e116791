// An LD_PRELOAD library that makes one system call of a save go wrong: the FAULT_AT-th of those that
// change files, in the way that FAULT_HOW says. It writes the number of calls that it saw to FAULT_COUNT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

/* What to do at this call: 0 nothing, 1 fail with errno set, 2 write one byte only. `restartable` calls
   may be interrupted. */
static int fault(int restartable) {
  const char* at = getenv("FAULT_AT");
  const char* how = getenv("FAULT_HOW");
  const long n = atomic_fetch_add(&calls, 1);
  if (at == NULL || how == NULL || atol(at) != n) return 0;
  if (strcmp(how, "kill") == 0) kill(getpid(), SIGKILL);
  if (strcmp(how, "ENOSPC") == 0) return errno = ENOSPC, 1;
  if (strcmp(how, "EIO") == 0) return errno = EIO, 1;
  if (strcmp(how, "EINTR") == 0 && restartable) return errno = EINTR, 1;
  if (strcmp(how, "short") == 0) return 2;
  return 0;
}

static int is_file(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t faulty_pwrite(__typeof__(&pwrite) real, int fd, const void* data, size_t size, off_t at) {
  const int what = is_file(fd) ? fault(1) : 0;
  if (what == 1) return -1;
  return real(fd, data, what == 2 && size > 1 ? 1 : size, at);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) { return faulty_pwrite(REAL(pwrite), fd, data, size, at); }
ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) { return faulty_pwrite(REAL(pwrite), fd, data, size, at); }

int fsync(int fd) { return fault(1) == 1 ? -1 : REAL(fsync)(fd); }
int ftruncate(int fd, off_t size) { return fault(0) == 1 ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off_t size) { return fault(0) == 1 ? -1 : REAL(ftruncate)(fd, size); }
int fallocate(int fd, int mode, off_t at, off_t size) { return fault(1) == 1 ? -1 : REAL(fallocate)(fd, mode, at, size); }
int fallocate64(int fd, int mode, off_t at, off_t size) { return fault(1) == 1 ? -1 : REAL(fallocate)(fd, mode, at, size); }
int fchmod(int fd, mode_t mode) { return fault(0) == 1 ? -1 : REAL(fchmod)(fd, mode); }
int linkat(int from, const char* old, int to, const char* new, int flags) {
  return fault(0) == 1 ? -1 : REAL(linkat)(from, old, to, new, flags);
}
int renameat(int from, const char* old, int to, const char* new) { return fault(0) == 1 ? -1 : REAL(renameat)(from, old, to, new); }

__attribute__((destructor)) static void report(void) {
  const char* path = getenv("FAULT_COUNT");
  FILE* f = path != NULL ? fopen(path, "w") : NULL;
  if (f == NULL) return;
  fprintf(f, "%ld\n", atomic_load(&calls));
  fclose(f);
}
