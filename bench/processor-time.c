/*
 * Loaded into a Redis server (LD_PRELOAD), lets its slow log tell the processor time that a command took. A server that is
 * put aside by the system, or a virtual machine that is, spends none; the wall clock goes on.
 *
 * Redis takes the time of day before and after each command. While it handles what one wait for events brought, the clock it
 * sees goes on by the processor time of its thread; the next wait sets it right again. To read that time is a system call, and
 * scripts call many commands: for so short a time the wall clock is trusted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>

#define TRUSTED_US 100

static long long wall_us, processor_us; /* when the processor time was last read */
static long long own_us;                /* what the server's clock said then */
static long long told_us;               /* what it was told last: its clock never goes back */
static __thread int is_waiter;          /* of all threads, the one that waits for events */

static long long read_clock(clockid_t id) {
  struct timespec at;
  clock_gettime(id, &at);
  return at.tv_sec * 1000000LL + at.tv_nsec / 1000;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
  static int (*wait)(int, struct epoll_event *, int, int);
  if (!wait) wait = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
  int found = wait(epoll, events, most, timeout);
  own_us = wall_us = read_clock(CLOCK_REALTIME);
  processor_us = read_clock(CLOCK_THREAD_CPUTIME_ID);
  is_waiter = 1;
  return found;
}

static long long own_clock(void) {
  long long wall = read_clock(CLOCK_REALTIME);
  if (!is_waiter) return wall;
  if (wall - wall_us > TRUSTED_US) {
    long long processor = read_clock(CLOCK_THREAD_CPUTIME_ID);
    own_us += processor - processor_us;
    wall_us = wall;
    processor_us = processor;
  }
  long long now = own_us + wall - wall_us;
  if (now > told_us) told_us = now;
  return told_us;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  long long now = own_clock();
  at->tv_sec = now / 1000000;
  at->tv_usec = now % 1000000;
  return 0;
}
