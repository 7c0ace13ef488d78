/* Moves the wall clock of a process by the seconds that a file says, while it runs: preloaded into every process of a
 * test in which days have to pass. The file holds one signed integer of 64 bits. What waits until a time of the wall
 * clock waits as long as it would have. The monotonic clock stays. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define LIKELY_WALL 1000000000L /* Seconds of the wall clock since 2001; no machine has been up for 30 years. */
#define REAL(name) static __typeof__(name) *real_##name; if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name)

static volatile int64_t *moved_by;
static int64_t not_moved;

static int64_t moved_s(void) {
    if (!moved_by) {
        const char *path = getenv("MOVED_CLOCK_FILE");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *page = file < 0 ? MAP_FAILED : mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        moved_by = page == MAP_FAILED ? &not_moved : (volatile int64_t *)page;
    }
    return *moved_by;
}

static struct timespec unmoved(const struct timespec *until) {
    struct timespec found = *until;
    if (found.tv_sec > LIKELY_WALL) found.tv_sec -= moved_s();
    return found;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(clock_gettime);
    int failed = real_clock_gettime(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += moved_s();
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return clock_gettime(CLOCK_REALTIME, at) ? 0 : base;
}

int pthread_cond_timedwait(pthread_cond_t *what, pthread_mutex_t *lock, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* the one that waits today */
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec at = unmoved(until);
    return real(what, lock, &at);
}

int cnd_timedwait(cnd_t *what, mtx_t *lock, const struct timespec *until) {
    REAL(cnd_timedwait);
    struct timespec at = unmoved(until);
    return real_cnd_timedwait(what, lock, &at);
}

int sem_timedwait(sem_t *what, const struct timespec *until) {
    REAL(sem_timedwait);
    struct timespec at = unmoved(until);
    return real_sem_timedwait(what, &at);
}
