/*
 * A disk that fails: preloaded into a policy process, it stands between it and the files in one
 * folder, FAULTS_FOLDER.
 *
 * FAULTS_SHADOW   a folder that gets what would survive a power cut: for every inode its content
 *                 as of the last fsync or fdatasync (a file of that number), for the folder the
 *                 names that it had when the folder itself was last synced (`names`).  A lock
 *                 (`lock`) is held for the time of a sync, a truncation or a removal: who takes
 *                 it stops them all.  Removed files are kept there (`grave.*`), so that no inode is used again.
 * FAULTS_FAIL_AT  the nth change of a file in the folder (write, truncation, sync) fails
 * FAULTS_LASTS    if set, so do all after it
 * FAULTS_ERROR    with this errno
 * FAULTS_COUNT    a file that gets a byte for every change, so that the caller knows how many
 *                 there were
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long changes;

static int is_ours(int fd)
{
    const char *folder = getenv("FAULTS_FOLDER");
    char link[64], path[PATH_MAX];
    ssize_t length;

    if (folder == 0)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* Whether this change of a file fails; errno is set then. */
static int fails(int fd)
{
    const char *at = getenv("FAULTS_FAIL_AT"), *count = getenv("FAULTS_COUNT");

    if ((at == 0 && count == 0) || !is_ours(fd))
        return 0;
    changes++;
    if (count) {
        int saved = errno, out = open(count, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");

        if (out >= 0) {
            real(out, "x", 1);
            close(out);
        }
        errno = saved;
    }
    if (at == 0 || changes < atol(at) || (changes > atol(at) && !getenv("FAULTS_LASTS")))
        return 0;
    errno = atoi(getenv("FAULTS_ERROR"));
    return 1;
}

static void copy(int from, const char *to)
{
    static char block[1 << 16];
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    char temporary[PATH_MAX + 8], link[64];
    off_t offset = 0;
    ssize_t length;
    int in, out;

    snprintf(temporary, sizeof(temporary), "%s.new", to);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", from);
    in = open(link, O_RDONLY | O_CLOEXEC);
    out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while ((length = pread(in, block, sizeof(block), offset)) > 0) {
        if (real(out, block, length) != length)
            abort();
        offset += length;
    }
    close(in);
    close(out);
    if (rename(temporary, to))
        abort();
}

static void list(int folder, const char *to)
{
    char link[64], temporary[PATH_MAX + 8];
    struct dirent *entry;
    DIR *entries;
    FILE *out;

    snprintf(temporary, sizeof(temporary), "%s.new", to);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
    entries = opendir(link);
    out = fopen(temporary, "w");
    if (entries == 0 || out == 0)
        abort();
    while ((entry = readdir(entries)) != 0)
        if (entry->d_type == DT_REG)
            fprintf(out, "%lu %s\n", (unsigned long) entry->d_ino, entry->d_name);
    closedir(entries);
    fclose(out);
    if (rename(temporary, to))
        abort();
}

/* Take the lock, where there is a shadow. */
static int locked(void)
{
    const char *shadow = getenv("FAULTS_SHADOW");
    char path[PATH_MAX];
    int lock;

    if (shadow == 0)
        return -1;
    snprintf(path, sizeof(path), "%s/lock", shadow);
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (flock(lock, LOCK_EX))
        ;
    return lock;
}

static int done(int lock, int result)
{
    int saved = errno;

    if (lock >= 0)
        close(lock);
    errno = saved;
    return result;
}

/* Remember what is on disk once this sync has returned. */
static void remember(int fd)
{
    const char *shadow = getenv("FAULTS_SHADOW");
    char path[PATH_MAX];
    struct stat status;
    int lock;

    if (shadow == 0 || !is_ours(fd) || fstat(fd, &status))
        return;
    lock = locked();
    if (S_ISDIR(status.st_mode)) {
        snprintf(path, sizeof(path), "%s/names", shadow);
        list(fd, path);
    } else {
        snprintf(path, sizeof(path), "%s/%lu", shadow, (unsigned long) status.st_ino);
        copy(fd, path);
    }
    close(lock);
}

int fsync(int fd)
{
    if (fails(fd))
        return -1;
    remember(fd);
    return 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

ssize_t write(int fd, const void *data, size_t length)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");

    return fails(fd) ? -1 : real(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");

    return fails(fd) ? -1 : real(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");

    return fails(fd) ? -1 : real(fd, data, length, offset);
}

int unlink(const char *path)
{
    const char *folder = getenv("FAULTS_FOLDER"), *shadow = getenv("FAULTS_SHADOW");
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    char grave[PATH_MAX];
    struct stat status;
    int lock;

    if (!folder || !shadow || strncmp(path, folder, strlen(folder)) || stat(path, &status))
        return real(path);
    snprintf(grave, sizeof(grave), "%s/grave.%lu", shadow, (unsigned long) status.st_ino);
    lock = locked();
    link(path, grave);
    return done(lock, real(path));
}

int ftruncate(int fd, off_t length)
{
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    int lock;

    if (fails(fd))
        return -1;
    lock = is_ours(fd) ? locked() : -1;
    return done(lock, real(fd, length));
}

int ftruncate64(int fd, off64_t length)
{
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    int lock;

    if (fails(fd))
        return -1;
    lock = is_ours(fd) ? locked() : -1;
    return done(lock, real(fd, length));
}
