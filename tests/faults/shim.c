/* Counts every call that changes a file under one folder, and on the n-th of them kills the
 * process, or lets the call fail once. Loaded with LD_PRELOAD, armed from Python. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TORN, FAIL, SHORT };
static int mode = OFF, code = EIO, journal = -1;
static long target, calls;
static char root[4096], saved[3072];
static size_t root_len;
static __thread long current;

void shim_arm(int how, long n, int err, const char *folder, int log) {
    snprintf(root, sizeof root, "%s", folder);
    root_len = strlen(root);
    target = n; code = err; journal = log; calls = 0;
    __sync_synchronize();
    mode = how;
}
long shim_calls(void) { return calls; }
/* From now on what a rename replaces is linked into this folder, under the rename's number. */
void shim_keep(const char *folder) { snprintf(saved, sizeof saved, "%s", folder); }
void shim_disarm(void) { mode = OFF; }

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

static int inside(const char *path) {
    if (!path) return 0;
    if (path[0] == '/') return strncmp(path, root, root_len) == 0;
    char cwd[4096];
    return getcwd(cwd, sizeof cwd) && strncmp(cwd, root, root_len) == 0;
}
static int path_of(int fd, char *out, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, size - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return strncmp(out, root, root_len) == 0;
}
static void joined(int dir, const char *path, char *out, size_t size) {
    if (path[0] == '/' || dir == AT_FDCWD) { snprintf(out, size, "%s", path); return; }
    char base[3072];
    if (!path_of(dir, base, sizeof base)) { snprintf(out, size, "%s", "?"); return; }
    snprintf(out, size, "%s/%s", base, path);
}
/* 0: go on; 1: fail; 2: do half of it */
static int strike(const char *op, const char *one, const char *two) {
    long n = current = __sync_add_and_fetch(&calls, 1);
    if (journal >= 0) {
        char line[9000];
        int len = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\n", n, op, one, two ? two : "");
        syscall(SYS_write, journal, line, len);
    }
    if (n != target || mode == COUNT) return 0;
    if (mode == KILL) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }
    if (mode == FAIL) { errno = code; return 1; }
    return 2;
}
#define GUARD_FD(op, fd, whole, half) do { \
    char path_[4096]; \
    if (mode != OFF && path_of(fd, path_, sizeof path_)) { \
        int what_ = strike(op, path_, 0); \
        if (what_ == 1) return -1; \
        if (what_ == 2 && mode == TORN) { (void)!(half); syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); } \
        if (what_ == 2) return (half); \
    } \
    return (whole); } while (0)

ssize_t write(int fd, const void *b, size_t n) {
    REAL(write); GUARD_FD("write", fd, real(fd, b, n), real(fd, b, n > 1 ? n / 2 : n)); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(pwrite64); GUARD_FD("write", fd, real(fd, b, n, o), real(fd, b, n > 1 ? n / 2 : n, o)); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
    REAL(pwrite); GUARD_FD("write", fd, real(fd, b, n, o), real(fd, b, n > 1 ? n / 2 : n, o)); }
ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(writev); GUARD_FD("write", fd, real(fd, v, n), real(fd, v, n > 1 ? n / 2 : n)); }
ssize_t sendfile(int fd, int from, off_t *o, size_t n) {
    REAL(sendfile); GUARD_FD("write", fd, real(fd, from, o, n), real(fd, from, o, n > 1 ? n / 2 : n)); }
ssize_t sendfile64(int fd, int from, off64_t *o, size_t n) {
    REAL(sendfile64); GUARD_FD("write", fd, real(fd, from, o, n), real(fd, from, o, n > 1 ? n / 2 : n)); }
int ftruncate64(int fd, off64_t n) { REAL(ftruncate64); GUARD_FD("truncate", fd, real(fd, n), real(fd, n)); }
int ftruncate(int fd, off_t n) { REAL(ftruncate); GUARD_FD("truncate", fd, real(fd, n), real(fd, n)); }
int fsync(int fd) { REAL(fsync); GUARD_FD("fsync", fd, real(fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); GUARD_FD("fsync", fd, real(fd), real(fd)); }

static int creates(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }
#define OPENED(name, ...) \
    if (mode != OFF && creates(flags)) { \
        char full[4096]; joined(dir, path, full, sizeof full); \
        if (inside(full) && strike("create", full, 0) == 1) return -1; \
    } \
    return real(__VA_ARGS__, flags, bits)
#define BITS mode_t bits = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list v; va_start(v, flags); bits = va_arg(v, int); va_end(v); }
int open(const char *path, int flags, ...) { REAL(open); BITS; int dir = AT_FDCWD; OPENED(open, path); }
int open64(const char *path, int flags, ...) { REAL(open64); BITS; int dir = AT_FDCWD; OPENED(open64, path); }
int openat(int dir, const char *path, int flags, ...) { REAL(openat); BITS; OPENED(openat, dir, path); }
int openat64(int dir, const char *path, int flags, ...) { REAL(openat64); BITS; OPENED(openat64, dir, path); }

#define GUARD_PATH(op, one, two, whole) do { \
    if (mode != OFF && (inside(one) || inside(two))) { \
        if (strike(op, one, two) == 1) return -1; } \
    return (whole); } while (0)
static int replacing(const char *path) {
    if (mode != OFF && saved[0] && inside(path)) {
        char place[4096];
        snprintf(place, sizeof place, "%s/%ld", saved, current);
        syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, place, 0);
    }
    return 0;
}
int rename(const char *a, const char *b) {
    REAL(rename); GUARD_PATH("rename", a, b, replacing(b) + real(a, b)); }
int renameat(int d, const char *a, int e, const char *b) {
    REAL(renameat); char x[4096], y[4096]; joined(d, a, x, 4096); joined(e, b, y, 4096);
    GUARD_PATH("rename", x, y, replacing(y) + real(d, a, e, b)); }
int renameat2(int d, const char *a, int e, const char *b, unsigned f) {
    REAL(renameat2); char x[4096], y[4096]; joined(d, a, x, 4096); joined(e, b, y, 4096);
    GUARD_PATH("rename", x, y, replacing(y) + real(d, a, e, b, f)); }
int link(const char *a, const char *b) { REAL(link); GUARD_PATH("link", a, b, real(a, b)); }
int linkat(int d, const char *a, int e, const char *b, int f) {
    REAL(linkat); char x[4096], y[4096]; joined(d, a, x, 4096); joined(e, b, y, 4096);
    GUARD_PATH("link", x, y, real(d, a, e, b, f)); }
int unlink(const char *a) { REAL(unlink); GUARD_PATH("unlink", a, "", real(a)); }
int unlinkat(int d, const char *a, int f) {
    REAL(unlinkat); char x[4096]; joined(d, a, x, 4096); GUARD_PATH("unlink", x, "", real(d, a, f)); }
int rmdir(const char *a) { REAL(rmdir); GUARD_PATH("unlink", a, "", real(a)); }
int mkdir(const char *a, mode_t m) { REAL(mkdir); GUARD_PATH("mkdir", a, "", real(a, m)); }

FILE *fopen(const char *path, const char *how) {
    REAL(fopen);
    if (mode != OFF && inside(path) && strpbrk(how, "wa+") && strike("create", path, 0) == 1) return NULL;
    return real(path, how); }
FILE *fopen64(const char *path, const char *how) {
    REAL(fopen64);
    if (mode != OFF && inside(path) && strpbrk(how, "wa+") && strike("create", path, 0) == 1) return NULL;
    return real(path, how); }
size_t fwrite(const void *b, size_t size, size_t n, FILE *f) {
    REAL(fwrite);
    char path[4096];
    if (mode != OFF && f && path_of(fileno(f), path, sizeof path)) {
        int what = strike("write", path, 0);
        if (what == 1) return 0;
        if (what == 2) {
            size_t done = real(b, size, n / 2, f);
            if (mode == TORN) { fflush(f); syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }
            return done;
        }
    }
    return real(b, size, n, f); }
