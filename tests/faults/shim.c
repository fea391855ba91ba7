// Intercepts a process's calls on its files, to inject faults and to copy what a power loss leaves.
//
// JOBWRIGHT_FAULTS names a directory. While it holds a file `sync`, `full`, `read` or `short`, syncs
// fail with EIO, writes with ENOSPC, reads with EIO, and reads and writes are short; while it holds
// a file `hold`, syncs do not return, and while it holds `count` they are counted.
// Its folder `synced` has a copy of each database file as of its last sync, which a disk is
// guaranteed to hold. The size of `sync.made` and so on counts the injected faults.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Sets name to the name of the database file behind fd; returns 0 if it is another file.
static int database(int fd, char *path, const char **name) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *slash = strrchr(path, '/');
    if (!slash) return 0;
    *name = slash + 1;
    return !strcmp(*name, "jobs.db") || !strcmp(*name, "jobs.db-wal") ||
           !strcmp(*name, "logs.db") || !strcmp(*name, "logs.db-wal");
}

static int wanted(const char *fault) {
    const char *faults = getenv("JOBWRIGHT_FAULTS");
    char path[PATH_MAX];
    if (!faults) return 0;
    snprintf(path, sizeof path, "%s/%s", faults, fault);
    return access(path, F_OK) == 0;
}

// Whether the call on fd must fail in this way; if so, it is counted.
static int made(const char *fault, int fd) {
    char path[PATH_MAX];
    const char *name;
    int before = errno;
    int yes = wanted(fault) && database(fd, path, &name) && !strncmp(name, "jobs", 4);
    if (yes) {
        snprintf(path, sizeof path, "%s/%s.made", getenv("JOBWRIGHT_FAULTS"), fault);
        int count = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (count >= 0) {
            if (REAL(write)(count, ".", 1) < 0) abort();
            close(count);
        }
    }
    errno = before;
    return yes;
}

// Syncs the file behind fd, and keeps what it held before as a copy: what is written meanwhile may not be on disk.
// One at a time: several threads sync the same file, and the copy that ends last must not be the older one.
static int keep(int fd, int (*sync)(int)) {
    static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;
    static char block[1 << 16];
    char path[PATH_MAX], part[PATH_MAX + 64], whole[PATH_MAX + 64];
    const char *name, *faults = getenv("JOBWRIGHT_FAULTS");
    if (!faults || !database(fd, path, &name)) return sync(fd);
    snprintf(whole, sizeof whole, "%s/synced/%s", faults, name);
    snprintf(part, sizeof part, "%s/%s.part", faults, name);
    pthread_mutex_lock(&keeping);
    int to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0) abort();
    // Through fd itself: opening the file again and closing it would give up the process's locks.
    ssize_t length;
    for (off64_t at = 0; (length = REAL(pread64)(fd, block, sizeof block, at)) > 0; at += length)
        if (REAL(write)(to, block, length) != length) abort();
    close(to);
    int outcome = sync(fd);
    if (outcome == 0 && rename(part, whole)) abort();
    pthread_mutex_unlock(&keeping);
    return outcome;
}

static int refused(int error) {
    errno = error;
    return -1;
}

// A sync of fd by `sync`, with the faults that are wanted.
static int synced(int fd, int (*sync)(int)) {
    made("count", fd);
    if (made("hold", fd))
        while (wanted("hold")) usleep(1000);
    return made("sync", fd) ? refused(EIO) : keep(fd, sync);
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

static size_t part_of(int fd, size_t length) {
    return length > 1 && made("short", fd) ? length / 2 : length;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (made("full", fd)) return refused(ENOSPC);
    return REAL(write)(fd, bytes, part_of(fd, length));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    if (made("full", fd)) return refused(ENOSPC);
    return REAL(pwrite64)(fd, bytes, part_of(fd, length), at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

ssize_t read(int fd, void *bytes, size_t length) {
    if (made("read", fd)) return refused(EIO);
    return REAL(read)(fd, bytes, part_of(fd, length));
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    if (made("read", fd)) return refused(EIO);
    return REAL(pread64)(fd, bytes, part_of(fd, length), at);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at) {
    return pread64(fd, bytes, length, at);
}
