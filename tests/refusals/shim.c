/*
* Makes the operating system refuse calls of the library, and only of the library: LD_PRELOAD=shim.so.
 *
* It uses two means, since neither sees all calls. Functions of libc are wrapped: a wrapper identifies its caller by
* the return address, so the program's own calls pass. Direct system calls (rustix has its own
* instructions) do not pass a wrapper: a seccomp filter identifies them by the address of the instruction, and sends them to a
* thread of this shim, which answers or lets them continue. A filter alone is not enough: calls through libc all have
* addresses in libc, glibc makes the system calls for a new thread, and several calls are answered
 * without the kernel (vDSO). Unlike SECCOMP_RET_ERRNO both can be switched on and off.
 *
* The file named by PG_REFUSALS, which the test maps too, says what to refuse: see struct slot. Each call has a slot with
* its name, in which the shim counts. A call without a slot is written after the slots: the list of calls must name it.
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LIBRARY "libpaymentsgate_auth.so"
enum { NAME = 40, SUBJECT = 128, STRANGERS = 64 };

/* The test reads and writes this layout too. */
struct slot {
    char name[NAME];
    /* The error number; for getaddrinfo one of its own numbers. */
    int32_t error;
    int32_t reserved;
    /* How many more calls are refused; below 0: all, until changed. This many calls pass first. */
    int64_t left, pass;
    /* Only calls with a path that contains this. */
    char subject[SUBJECT];
    uint64_t calls, refused;
};

struct world {
    uint64_t slots;
    uint64_t reserved[7];
    char strangers[STRANGERS][NAME];
    struct slot slot[];
};

static struct world *world;
static uintptr_t library_begin, library_end;

static void fail(const char *what)
{
    fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
    _exit(70);
}

static struct slot *slot_of(const char *name)
{
    for (uint64_t i = 0; i < world->slots; i++)
        if (strncmp(world->slot[i].name, name, NAME) == 0)
            return &world->slot[i];
    for (int i = 0; i < STRANGERS; i++) {
        char *stranger = world->strangers[i];
        if (strncmp(stranger, name, NAME) == 0)
            break;
        /* Two threads can write the same name twice. */
        if (stranger[0] == 0) {
            strncpy(stranger, name, NAME - 1);
            break;
        }
    }
    return NULL;
}

/* Counts a call, and returns its error; 0: it is not refused. `path` is its path, if known. */
static int refusal(const char *name, const char *path)
{
    struct slot *slot = slot_of(name);
    if (slot == NULL)
        return 0;
    __atomic_add_fetch(&slot->calls, 1, __ATOMIC_RELAXED);
    int64_t left = __atomic_load_n(&slot->left, __ATOMIC_ACQUIRE);
    if (left == 0 || (slot->subject[0] != 0 && (path == NULL || strstr(path, slot->subject) == NULL)))
        return 0;
    if (__atomic_load_n(&slot->pass, __ATOMIC_RELAXED) > 0 &&
        __atomic_fetch_sub(&slot->pass, 1, __ATOMIC_RELAXED) > 0)
        return 0;
    while (left > 0 && !__atomic_compare_exchange_n(&slot->left, &left, left - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
    if (left == 0)
        return 0;
    __atomic_add_fetch(&slot->refused, 1, __ATOMIC_RELAXED);
    return slot->error;
}

/* ---- The library's own instructions ---- */

static const char *kernel_name(long number)
{
    switch (number) {
    case SYS_futex: return "futex";
    case SYS_membarrier: return "membarrier";
    case SYS_getrandom: return "getrandom";
    case SYS_gettid: return "gettid";
    case SYS_geteuid: return "geteuid";
    case SYS_getpid: return "getpid";
    case SYS_timerfd_create: return "timerfd_create";
    case SYS_timerfd_settime: return "timerfd_settime";
    case SYS_fcntl: return "fcntl";
    case SYS_flock: return "flock";
#ifdef SYS_fstat
    case SYS_fstat: return "fstat";
#endif
    case SYS_fstatfs: return "fstatfs";
    case SYS_eventfd2: return "eventfd2";
#ifdef SYS_open
    case SYS_open: return "open";
#endif
    case SYS_openat: return "openat";
    case SYS_close: return "close";
    case SYS_read: return "read";
    case SYS_write: return "write";
    case SYS_madvise: return "madvise";
    case SYS_mmap: return "mmap";
    case SYS_fchmod: return "fchmod";
    case SYS_fchmodat: return "fchmodat";
    case SYS_statx: return "statx";
    case SYS_pidfd_open: return "pidfd_open";
    default: return NULL;
    }
}

/* "syscall futex", "kernel timerfd_create"; by number if this shim has no name for it. */
static const char *name_by_number(const char *way, long number, char name[NAME])
{
    const char *known = kernel_name(number);
    if (known != NULL)
        snprintf(name, NAME, "%s %s", way, known);
    else
        snprintf(name, NAME, "%s %ld", way, number);
    return name;
}

static int listener = -1;

static void *answer_the_filter(void *unused)
{
    struct seccomp_notif asked;
    (void)unused;
    for (;;) {
        memset(&asked, 0, sizeof asked);
        if (syscall(SYS_ioctl, listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
            if (errno == EINTR || errno == ENOENT)
                continue;
            fail("the filter");
        }
        char name[NAME];
        int error = refusal(name_by_number("kernel", asked.data.nr, name), NULL);
        struct seccomp_notif_resp answer = { asked.id, 0, -error, error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE };
        /* A signal may have interrupted the call of the thread: then the thread makes it again. */
        syscall(SYS_ioctl, listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* Every call whose instruction is in the library's code goes to a thread of the shim. */
static void install_filter(void)
{
    uint32_t high = library_begin >> 32, high_end = (library_end - 1) >> 32;
    uint32_t low = (uint32_t)library_begin, last = (uint32_t)(library_end - 1);
    enum { IP = offsetof(struct seccomp_data, instruction_pointer) };
    struct sock_filter same[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, low, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    /* If the code crosses a multiple of 4 GiB. */
    struct sock_filter across[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, low, 3, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high_end, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof same / sizeof *same, same };
    if (high != high_end)
        program = (struct sock_fprog){ sizeof across / sizeof *across, across };
    unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    pthread_t thread;
    sigset_t all, before;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fail("PR_SET_NO_NEW_PRIVS");
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (listener < 0)
        fail("seccomp, whose filters with a listener this test needs");
    /* A high number, apart from the descriptors that the program counts. */
    int high_fd = (int)syscall(SYS_fcntl, listener, F_DUPFD_CLOEXEC, 900);
    if (high_fd >= 0) {
        syscall(SYS_close, listener);
        listener = high_fd;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (real_pthread_create(&thread, NULL, answer_the_filter, NULL) != 0)
        fail("a thread for the filter");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int look_for_library(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (info->dlpi_name == NULL || strstr(info->dlpi_name, LIBRARY) == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            library_begin = info->dlpi_addr + part->p_vaddr;
            __atomic_store_n(&library_end, library_begin + part->p_memsz, __ATOMIC_RELEASE);
        }
    }
    return 1;
}

/* Whether the return address is in the library. */
static bool is_library(void *where)
{
    static pthread_once_t filter = PTHREAD_ONCE_INIT;
    static __thread bool inside;
    if (world == NULL || inside)
        return false;
    if (__atomic_load_n(&library_end, __ATOMIC_ACQUIRE) == 0) {
        inside = true;
        dl_iterate_phdr(look_for_library, NULL);
        inside = false;
    }
    bool is = (uintptr_t)where >= library_begin && (uintptr_t)where < library_end;
    if (is) {
        inside = true;
        pthread_once(&filter, install_filter);
        inside = false;
    }
    return is;
}

/* ---- What the library calls in libc ---- */

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        fail(name);
    return found;
}

__attribute__((constructor)) static void begin(void)
{
    real_pthread_create = real("pthread_create");
    const char *path = getenv("PG_REFUSALS");
    struct stat about;
    if (path == NULL)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0)
        fail(path);
    void *mapped = (void *)syscall(SYS_mmap, NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        fail(path);
    syscall(SYS_close, fd);
    world = mapped;
}

#define CALLER __builtin_return_address(0)
#define REAL(name) \
    static __typeof__(&name) real_##name; \
    if (real_##name == NULL) \
        real_##name = real(#name)

/* A call that returns `failed` and sets errno. */
#define REFUSABLE(type, name, parameters, arguments, failed, path) \
    type name parameters \
    { \
        REAL(name); \
        if (is_library(CALLER)) { \
            int error = refusal(#name, path); \
            if (error != 0) { \
                errno = error; \
                return failed; \
            } \
        } \
        return real_##name arguments; \
    }

/* A call that returns its error number. */
#define REFUSABLE_BY_NUMBER(name, parameters, arguments) \
    int name parameters \
    { \
        REAL(name); \
        int error = is_library(CALLER) ? refusal(#name, NULL) : 0; \
        return error != 0 ? error : real_##name arguments; \
    }

static bool is_pair(int fd)
{
    int domain = 0;
    socklen_t length = sizeof domain;
    syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    return domain == AF_UNIX;
}

/* The kind of a descriptor, since calls fail differently for each kind. */
static const char *kind_of(int fd)
{
    struct stat about;
    int before = errno;
    const char *kind = "event";
    if (fstatat(fd, "", &about, AT_EMPTY_PATH) == 0) {
        if (S_ISREG(about.st_mode))
            kind = "file";
        else if (S_ISDIR(about.st_mode))
            kind = "folder";
        else if (S_ISSOCK(about.st_mode))
            kind = is_pair(fd) ? "pair" : "socket";
    }
    errno = before;
    return kind;
}

static const char *path_of(int fd, char path[PATH_MAX])
{
    char link[32];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    errno = before;
    return path;
}

static int refusal_of_descriptor(const char *call, int fd)
{
    char name[NAME], path[PATH_MAX];
    snprintf(name, sizeof name, "%s %s", call, kind_of(fd));
    return refusal(name, path_of(fd, path));
}

/* A call on a descriptor, named with its kind: "fsync folder". */
#define REFUSABLE_ON(type, name, parameters, arguments) \
    type name parameters \
    { \
        REAL(name); \
        if (is_library(CALLER)) { \
            int error = refusal_of_descriptor(#name, fd); \
            if (error != 0) { \
                errno = error; \
                return -1; \
            } \
        } \
        return real_##name arguments; \
    }

REFUSABLE_ON(ssize_t, read, (int fd, void *bytes, size_t count), (fd, bytes, count))
REFUSABLE_ON(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
REFUSABLE_ON(ssize_t, pread64, (int fd, void *bytes, size_t count, off64_t from), (fd, bytes, count, from))
REFUSABLE_ON(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count))
REFUSABLE_ON(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
REFUSABLE_ON(int, fsync, (int fd), (fd))
REFUSABLE_ON(int, fdatasync, (int fd), (fd))
REFUSABLE_ON(int, fstat64, (int fd, struct stat64 *about), (fd, about))
REFUSABLE_ON(int, fchmod, (int fd, mode_t mode), (fd, mode))
REFUSABLE_ON(int, ftruncate64, (int fd, off64_t length), (fd, length))
REFUSABLE_ON(off64_t, lseek64, (int fd, off64_t by, int from), (fd, by, from))

REFUSABLE_ON(ssize_t, send, (int fd, const void *bytes, size_t count, int flags), (fd, bytes, count, flags))
REFUSABLE_ON(ssize_t, recv, (int fd, void *bytes, size_t count, int flags), (fd, bytes, count, flags))
REFUSABLE(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), -1, NULL)
REFUSABLE(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), -1, NULL)
REFUSABLE(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, NULL)
REFUSABLE(int, socketpair, (int domain, int type, int protocol, int pair[2]), (domain, type, protocol, pair), -1, NULL)
REFUSABLE(int, bind, (int fd, __CONST_SOCKADDR_ARG address, socklen_t length), (fd, address, length), -1, NULL)
REFUSABLE(int, connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t length), (fd, address, length), -1, NULL)
REFUSABLE(int, shutdown, (int fd, int how), (fd, how), -1, NULL)
REFUSABLE(int, getsockname, (int fd, __SOCKADDR_ARG address, socklen_t *length), (fd, address, length), -1, NULL)
REFUSABLE(int, getpeername, (int fd, __SOCKADDR_ARG address, socklen_t *length), (fd, address, length), -1, NULL)
REFUSABLE(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length), (fd, level, name, value, length), -1, NULL)
REFUSABLE(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length), (fd, level, name, value, length), -1, NULL)
REFUSABLE(int, poll, (struct pollfd *fds, nfds_t count, int timeout), (fds, count, timeout), -1, NULL)
REFUSABLE(int, epoll_create1, (int flags), (flags), -1, NULL)
REFUSABLE(int, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event), (epoll, what, fd, event), -1, NULL)
REFUSABLE(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout), (epoll, events, most, timeout), -1, NULL)
REFUSABLE(int, eventfd, (unsigned int value, int flags), (value, flags), -1, NULL)
REFUSABLE(ssize_t, getrandom, (void *bytes, size_t count, unsigned int flags), (bytes, count, flags), -1, NULL)

REFUSABLE(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, path)
REFUSABLE(int, unlink, (const char *path), (path), -1, path)
REFUSABLE(int, rename, (const char *from, const char *to), (from, to), -1, to)
REFUSABLE(int, chmod, (const char *path, mode_t mode), (path, mode), -1, path)
REFUSABLE(int, stat64, (const char *path, struct stat64 *about), (path, about), -1, path)
REFUSABLE(int, lstat64, (const char *path, struct stat64 *about), (path, about), -1, path)
REFUSABLE(ssize_t, readlink, (const char *path, char *into, size_t most), (path, into, most), -1, path)
REFUSABLE(char *, realpath, (const char *path, char *into), (path, into), NULL, path)
REFUSABLE(char *, getcwd, (char *into, size_t most), (into, most), NULL, NULL)
REFUSABLE(DIR *, opendir, (const char *path), (path), NULL, path)
REFUSABLE(struct dirent64 *, readdir64, (DIR *folder), (folder), NULL, NULL)

REFUSABLE(void *, mmap, (void *where, size_t length, int rights, int flags, int fd, off_t from), (where, length, rights, flags, fd, from), MAP_FAILED, NULL)
REFUSABLE(void *, mmap64, (void *where, size_t length, int rights, int flags, int fd, off64_t from), (where, length, rights, flags, fd, from), MAP_FAILED, NULL)
REFUSABLE(int, munmap, (void *where, size_t length), (where, length), -1, NULL)
REFUSABLE(int, mprotect, (void *where, size_t length, int rights), (where, length, rights), -1, NULL)
REFUSABLE(int, madvise, (void *where, size_t length, int advice), (where, length, advice), -1, NULL)

REFUSABLE_BY_NUMBER(pthread_create, (pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *with), (thread, how, start, with))
REFUSABLE_BY_NUMBER(pthread_getattr_np, (pthread_t thread, pthread_attr_t *attributes), (thread, attributes))
REFUSABLE_BY_NUMBER(clock_nanosleep, (clockid_t clock, int flags, const struct timespec *time, struct timespec *left), (clock, flags, time, left))
REFUSABLE_BY_NUMBER(getaddrinfo, (const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found), (host, port, hints, found))

/* For a path, or for a descriptor if the path is empty. */
int statx(int folder, const char *path, int flags, unsigned int mask, struct statx *about)
{
    REAL(statx);
    if (is_library(CALLER)) {
        char known[PATH_MAX];
        /* std passes NULL to test whether the call exists; glibc declares the argument as never NULL. */
        const char *volatile given = path;
        const char *about_what = given == NULL ? NULL : given[0] != 0 ? given : path_of(folder, known);
        int error = refusal("statx", about_what);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return real_statx(folder, path, flags, mask, about);
}

/* The descriptor is closed anyway, as the kernel does. */
int close(int fd)
{
    REAL(close);
    int error = is_library(CALLER) ? refusal_of_descriptor("close", fd) : 0;
    int done = real_close(fd);
    if (error == 0)
        return done;
    errno = error;
    return -1;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    REAL(clock_gettime);
    if (is_library(CALLER)) {
        const char *name = clock == CLOCK_BOOTTIME ? "clock_gettime boot"
            : clock == CLOCK_MONOTONIC             ? "clock_gettime monotonic"
            : clock == CLOCK_REALTIME              ? "clock_gettime wall"
                                                   : "clock_gettime other";
        int error = refusal(name, NULL);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return real_clock_gettime(clock, time);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        if (is_library(CALLER)) { \
            int error = refusal(flags & O_CREAT ? #name " create" : #name, path); \
            if (error != 0) { \
                errno = error; \
                return -1; \
            } \
        } \
        return real_##name(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)

int fcntl(int fd, int what, ...)
{
    REAL(fcntl);
    va_list more;
    va_start(more, what);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (is_library(CALLER)) {
        char name[NAME];
        const char *command = what == F_DUPFD_CLOEXEC ? "dupfd"
            : what == F_GETFD                         ? "getfd"
            : what == F_GETFL                         ? "getfl"
            : what == F_SETFL                         ? "setfl"
                                                      : NULL;
        if (command != NULL)
            snprintf(name, NAME, "fcntl %s", command);
        else
            snprintf(name, NAME, "fcntl %d", what);
        int error = refusal(name, NULL);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return real_fcntl(fd, what, argument);
}

long syscall(long number, ...)
{
    REAL(syscall);
    va_list more;
    long a[6];
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    if (is_library(CALLER)) {
        char name[NAME];
        int error = refusal(name_by_number("syscall", number, name), NULL);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
