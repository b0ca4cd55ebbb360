/*
 * stand-ins: processes that look like the swtpms of running domains and do nothing: an agent tells that a domain runs by the name and the command line of its swtpm.
 *
 * Reads one state directory a line, starts a process for each, and says `N` when the N-th stands. All end when standard input ends, or this does.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words) {
  char line[PATH_MAX], state[PATH_MAX + 16];
  if (strcmp(words[0], "swtpm") == 0) {
    prctl(PR_SET_NAME, "swtpm");
    for (;;) pause();
  }
  if (count != 1) return 2;
  for (unsigned started = 1; fgets(line, sizeof line, stdin); started++) {
    line[strcspn(line, "\n")] = 0;
    snprintf(state, sizeof state, "dir=%s,mode=0600", line);
    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execl("/proc/self/exe", "swtpm", "socket", "--tpm2", "--tpmstate", state, (char *)0);
      _exit(127);
    }
    printf("%u\n", started);
    fflush(stdout);
  }
  return 0;
}
