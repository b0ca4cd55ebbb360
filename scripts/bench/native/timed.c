/*
 * timed: what a program costs as a whole, from fork to the end: `timed INPUT PROGRAM ARGUMENTS…`, with the file INPUT as its standard input.
 *
 * Prints wall-clock nanoseconds, processor microseconds (user and system, of it and of the children that it waited for), the largest resident
 * set in KiB, and the exit status. It does the forking itself, because a large parent would make the fork slow.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long microseconds(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

int main(int count, char **words) {
  if (count < 3) return 2;
  int input = open(words[1], O_RDONLY), output = open("/dev/null", O_WRONLY);
  if (input < 0 || output < 0) return 2;
  struct rusage usage;
  int status;
  long long began = now_ns();
  pid_t child = fork();
  if (child < 0) return 2;
  if (child == 0) {
    dup2(input, 0);
    dup2(output, 1);
    execv(words[2], words + 2);
    _exit(127);
  }
  if (wait4(child, &status, 0, &usage) != child) return 2;
  long long took = now_ns() - began;
  printf("%lld %lld %ld %d\n", took, microseconds(usage.ru_utime) + microseconds(usage.ru_stime), usage.ru_maxrss,
         WIFEXITED(status) ? WEXITSTATUS(status) : 128);
  return 0;
}
