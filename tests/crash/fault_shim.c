// An LD_PRELOAD library that makes one system call of a save go wrong: the FAULT_AT-th of those that
// change files, in the way that FAULT_HOW says. It writes the number of calls that it saw to FAULT_COUNT. What
// FAULT_WITHOUT names is not there at all, as on file systems and in chroots that lack it: tmpfile, exchange, noreplace,
// link, proc.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;
static _Thread_local int kill_after;

/* What to do at this call: 0 nothing, 1 fail with errno set, 2 write one byte only. RESTARTABLE calls may be
   interrupted; those that only clear away (CLEARS) do not fail. */
enum { ORDINARY, RESTARTABLE, CLEARS };
static int fault(int kind) {
  const char* at = getenv("FAULT_AT");
  const char* how = getenv("FAULT_HOW");
  const long n = atomic_fetch_add(&calls, 1);
  if (at == NULL || how == NULL || atol(at) != n) return 0;
  if (strcmp(how, "kill") == 0) kill(getpid(), SIGKILL);
  if (strcmp(how, "kill after") == 0) kill_after = 1;
  if (kind == CLEARS) return 0;
  if (strcmp(how, "ENOSPC") == 0) return errno = ENOSPC, 1;
  if (strcmp(how, "EIO") == 0) return errno = EIO, 1;
  if (strcmp(how, "EINTR") == 0 && kind == RESTARTABLE) return errno = EINTR, 1;
  if (strcmp(how, "short") == 0) return 2;
  return 0;
}

static long done(long result) {
  if (kill_after) kill(getpid(), SIGKILL);
  return result;
}

/* Whether FAULT_WITHOUT, a list of words, takes this away. */
static int without(const char* what) {
  const char* list = getenv("FAULT_WITHOUT");
  return list != NULL && strstr(list, what) != NULL;
}
static int is_in_proc(const char* path) { return strncmp(path, "/proc/", 6) == 0 && without("proc"); }

static int is_file(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t faulty_pwrite(__typeof__(&pwrite) real, int fd, const void* data, size_t size, off_t at) {
  if (!is_file(fd)) return real(fd, data, size, at);
  const int what = fault(RESTARTABLE);
  if (what == 1) return -1;
  return done(real(fd, data, what == 2 && size > 1 ? 1 : size, at));
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) { return faulty_pwrite(REAL(pwrite), fd, data, size, at); }
ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) { return faulty_pwrite(REAL(pwrite), fd, data, size, at); }

#define FAULTY(kind, call) (fault(kind) == 1 ? -1 : (int)done(call))
int fsync(int fd) { return FAULTY(RESTARTABLE, REAL(fsync)(fd)); }
int ftruncate(int fd, off_t size) { return FAULTY(ORDINARY, REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off_t size) { return FAULTY(ORDINARY, REAL(ftruncate)(fd, size)); }
int fallocate(int fd, int mode, off_t at, off_t size) { return FAULTY(RESTARTABLE, REAL(fallocate)(fd, mode, at, size)); }
int fallocate64(int fd, int mode, off_t at, off_t size) { return FAULTY(RESTARTABLE, REAL(fallocate)(fd, mode, at, size)); }
int fchmod(int fd, mode_t mode) { return FAULTY(ORDINARY, REAL(fchmod)(fd, mode)); }
int mkdir(const char* path, mode_t mode) { return FAULTY(ORDINARY, REAL(mkdir)(path, mode)); }
int unlink(const char* path) { return FAULTY(CLEARS, REAL(unlink)(path)); }
int unlinkat(int at, const char* path, int flags) { return FAULTY(CLEARS, REAL(unlinkat)(at, path, flags)); }
int remove(const char* path) { return FAULTY(CLEARS, REAL(remove)(path)); }
int rename(const char* old, const char* new) { return FAULTY(ORDINARY, REAL(rename)(old, new)); }
int renameat(int from, const char* old, int to, const char* new) {
  return FAULTY(ORDINARY, REAL(renameat)(from, old, to, new));
}
int renameat2(int from, const char* old, int to, const char* new, unsigned flags) {
  const int lacks = ((flags & RENAME_EXCHANGE) != 0 && without("exchange")) ||
                    ((flags & RENAME_NOREPLACE) != 0 && without("noreplace"));
  if (lacks) return errno = EINVAL, -1;
  return FAULTY(ORDINARY, REAL(renameat2)(from, old, to, new, flags));
}
int linkat(int from, const char* old, int to, const char* new, int flags) {
  if (is_in_proc(old)) return errno = ENOENT, -1;
  if (without("link") && old[0] != '/') return errno = EPERM, -1;
  return FAULTY(ORDINARY, REAL(linkat)(from, old, to, new, flags));
}
int access(const char* path, int mode) {
  if (is_in_proc(path)) return errno = ENOENT, -1;
  return REAL(access)(path, mode);
}

/* Opening is a fault point where it makes a file. */
static int faulty_openat(int at, const char* path, int flags, mode_t mode) {
  if (is_in_proc(path)) return errno = ENOENT, -1;
  if ((flags & O_TMPFILE) == O_TMPFILE && without("tmpfile")) return errno = EOPNOTSUPP, -1;
  if ((flags & (O_CREAT | __O_TMPFILE)) == 0) return REAL(openat)(at, path, flags, mode);
  return FAULTY(ORDINARY, REAL(openat)(at, path, flags, mode));
}
#define WITH_MODE(call)                                       \
  va_list more;                                               \
  va_start(more, flags);                                      \
  const mode_t mode = (mode_t)va_arg(more, unsigned);         \
  va_end(more);                                               \
  return call
int open(const char* path, int flags, ...) { WITH_MODE(faulty_openat(AT_FDCWD, path, flags, mode)); }
int open64(const char* path, int flags, ...) { WITH_MODE(faulty_openat(AT_FDCWD, path, flags, mode)); }
int openat(int at, const char* path, int flags, ...) { WITH_MODE(faulty_openat(at, path, flags, mode)); }
int openat64(int at, const char* path, int flags, ...) { WITH_MODE(faulty_openat(at, path, flags, mode)); }

__attribute__((destructor)) static void report(void) {
  const char* path = getenv("FAULT_COUNT");
  FILE* f = path != NULL ? fopen(path, "w") : NULL;
  if (f == NULL) return;
  fprintf(f, "%ld\n", atomic_load(&calls));
  fclose(f);
}
