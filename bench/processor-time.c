/*
 * Loaded into a Redis server (LD_PRELOAD), lets its slow log tell the processor time that a command took. A server that is
 * put aside by the system, or a virtual machine that is, spends none; the wall clock goes on.
 *
 * Redis takes the time of day before and after each command. While it handles what one wait for events brought, the clock it
 * sees goes on by the processor time of its thread; the next wait sets it right again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

static long long since_us, processor_us; /* when the last wait for events ended, by both clocks */
static __thread int is_waiter;           /* of all threads, the one that waits for events */

static long long read_clock(clockid_t id) {
  struct timespec at;
  clock_gettime(id, &at);
  return at.tv_sec * 1000000LL + at.tv_nsec / 1000;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
  static int (*wait)(int, struct epoll_event *, int, int);
  if (!wait) wait = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
  int found = wait(epoll, events, most, timeout);
  since_us = read_clock(CLOCK_REALTIME);
  processor_us = read_clock(CLOCK_THREAD_CPUTIME_ID);
  is_waiter = 1;
  return found;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  long long now = is_waiter ? since_us + read_clock(CLOCK_THREAD_CPUTIME_ID) - processor_us : read_clock(CLOCK_REALTIME);
  at->tv_sec = now / 1000000;
  at->tv_usec = now % 1000000;
  return 0;
}
