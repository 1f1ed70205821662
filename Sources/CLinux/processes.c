#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_memory_file(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_spawn(const char *path, char *const arguments[], int input, int output, int errors, pid_t *pid) {
    static char *const environment[] = {
        (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int result = posix_spawn_file_actions_init(&files);
    if (result != 0) return -result;
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        posix_spawn_file_actions_adddup2(&files, input, 0);
        posix_spawn_file_actions_adddup2(&files, output, 1);
        posix_spawn_file_actions_adddup2(&files, errors, 2);
        // Not every library marks its descriptors close-on-exec.
        posix_spawn_file_actions_addclosefrom_np(&files, 3);
        sigemptyset(&signals);
        posix_spawnattr_setsigmask(&attributes, &signals);
        sigfillset(&signals);
        posix_spawnattr_setsigdefault(&attributes, &signals);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        result = posix_spawn(pid, path, &files, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return -result;
}

int clinux_await_child(pid_t pid, int milliseconds) {
    int ended = 0;
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    if (handle >= 0) {
        struct pollfd entry = {.fd = handle, .events = POLLIN};
        do ended = poll(&entry, 1, milliseconds);
        while (ended < 0 && errno == EINTR);
        close(handle);
    }
    if (ended != 1) kill(pid, SIGKILL);
    int status = 0;
    pid_t waited;
    do waited = waitpid(pid, &status, 0);
    while (waited < 0 && errno == EINTR);
    if (waited < 0) return -errno;
    if (ended != 1) return -ETIMEDOUT;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int clinux_usable_cores(void) {
    cpu_set_t set;
    // EINVAL: more cores than the set has room for.
    if (sched_getaffinity(0, sizeof set, &set) < 0) return CPU_SETSIZE;
    return CPU_COUNT(&set);
}
