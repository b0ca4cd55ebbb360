/*
 * floor: the least that a publish can cost: the system calls that the protocol needs on a local file system, and an inotify wake-up before them.
 *
 *   floor watch SOURCE NAME GEN LOG   publishes SOURCE/NAME whenever something is renamed to it
 *   floor serve GEN LOG               publishes each file that is named on a line of standard input
 *
 * After the last fsync of each publish, one line on standard output: the slot, and the nanoseconds since the reading of the file began.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define STATE_BYTES_MAX (4 << 20)
#define PATH_ROOM (3 * PATH_MAX)

static unsigned slot;
static char state[STATE_BYTES_MAX];

static void check(int result, const char *what) {
  if (result >= 0) return;
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sync_directory(const char *path) {
  int directory = open(path, O_RDONLY | O_DIRECTORY);
  check(directory, path);
  check(fsync(directory), "fsync of a directory");
  close(directory);
}

static ssize_t read_state(const char *path) {
  int file = open(path, O_RDONLY);
  check(file, path);
  ssize_t length = 0, count;
  while ((count = read(file, state + length, STATE_BYTES_MAX - length)) > 0) length += count;
  check((int)count, path);
  close(file);
  return length;
}

static void publish(const char *path, const char *gen, const char *log) {
  char temporary[PATH_ROOM], final[PATH_ROOM], target[64], entry[PATH_ROOM];
  long long began = now_ns();
  ssize_t length = read_state(path);
  slot += 1;
  snprintf(temporary, sizeof temporary, "%s/.tmp-%08u", gen, slot);
  snprintf(final, sizeof final, "%s/%08u", gen, slot);
  snprintf(target, sizeof target, "../gen/%08u", slot);
  snprintf(entry, sizeof entry, "%s/%08u", log, slot);
  int file = open(temporary, O_WRONLY | O_CREAT, 0600);
  check(file, temporary);
  if (write(file, state, length) != length) check(-1, temporary);
  check(fsync(file), "fsync");
  check(close(file), "close");
  check(rename(temporary, final), "rename");
  sync_directory(gen);
  check(symlink(target, entry), "symlink");
  sync_directory(log);
  printf("%u %lld\n", slot, now_ns() - began);
  fflush(stdout);
}

static void watch(const char *source, const char *name, const char *gen, const char *log) {
  char path[PATH_ROOM], buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  snprintf(path, sizeof path, "%s/%s", source, name);
  int events = inotify_init1(IN_CLOEXEC);
  check(events, "inotify_init1");
  check(inotify_add_watch(events, source, IN_MOVED_TO), source);
  puts("ready");
  fflush(stdout);
  for (;;) {
    ssize_t length = read(events, buffer, sizeof buffer);
    check((int)length, "read of events");
    for (char *at = buffer; at < buffer + length;) {
      struct inotify_event *event = (struct inotify_event *)at;
      if (event->len > 0 && strcmp(event->name, name) == 0) publish(path, gen, log);
      at += sizeof *event + event->len;
    }
  }
}

static void serve(const char *gen, const char *log) {
  char line[PATH_MAX];
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    publish(line, gen, log);
  }
}

int main(int count, char **words) {
  if (count == 6 && strcmp(words[1], "watch") == 0) watch(words[2], words[3], words[4], words[5]);
  else if (count == 4 && strcmp(words[1], "serve") == 0) serve(words[2], words[3]);
  else return 2;
  return 0;
}
