/* LD_PRELOAD this: the wall clock shows FAKECLOCK_FILE's int64 [ns] more than it is; others do not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

typedef int clock_read(clockid_t, struct timespec *);

static clock_read *true_clock;
static const volatile int64_t *ahead_ns;

__attribute__((constructor)) static void find_both(void)
{
    const char *path = getenv("FAKECLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *shared = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead_ns, PROT_READ, MAP_SHARED, file, 0);

    true_clock = (clock_read *)dlsym(RTLD_NEXT, "clock_gettime");
    if (shared != MAP_FAILED)
        ahead_ns = shared;
    if (file >= 0)
        close(file);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    int failed;

    if (!true_clock)
        find_both();
    failed = true_clock(which, now);
    if (!failed && ahead_ns && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t shown_ns = now->tv_sec * SECOND_NS + now->tv_nsec + *ahead_ns;
        now->tv_sec = shown_ns / SECOND_NS;
        now->tv_nsec = shown_ns % SECOND_NS;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec shown;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &shown);
    now->tv_sec = shown.tv_sec;
    now->tv_usec = shown.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec shown;

    clock_gettime(CLOCK_REALTIME, &shown);
    if (now)
        *now = shown.tv_sec;
    return shown.tv_sec;
}
