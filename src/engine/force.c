/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/force.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/registry.h"
#include "raw/syscall.h"

#define LOOK_US 5000
#define END_TIMEOUT_NS UINT64_C(5000000000)

/* Does the process have this very directory open? */
static bool has_open(int pid, const struct stat *dir)
{
	char path[64];
	struct dirent *entry;
	struct stat st;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !found && (entry = readdir(d)))
		found = fstatat(dirfd(d), entry->d_name, &st, 0) == 0 && st.st_ino == dir->st_ino &&
			st.st_dev == dir->st_dev;
	if (d)
		closedir(d);
	return found;
}

/* Who holds the lock; 0: nobody that we can see. Its device is not compared, since some file
 * systems tell another one here: has_open knows. */
static int holder(int dir_fd, struct stat *ret_dir)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256], kind[16], mode[16];
	unsigned long ino;
	int pid, found = 0;

	if (!f || fstat(dir_fd, ret_dir) < 0) {
		if (f)
			fclose(f);
		return 0;
	}
	while (!found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*u: %15s %*s %15s %d %*x:%*x:%lu", kind, mode, &pid, &ino) ==
			    4 &&
		    strcmp(kind, "FLOCK") == 0 && strcmp(mode, "WRITE") == 0 &&
		    ino == ret_dir->st_ino && pid > 0 && pid != getpid() && has_open(pid, ret_dir))
			found = pid;
	fclose(f);
	return found;
}

bool force_is_stopped(int dir_fd)
{
	struct stat dir;
	char path[64], text[512];
	const char *at;
	int pid = holder(dir_fd, &dir);
	AUTO_FD int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	at = strrchr(text, ')');
	return at && at[1] == ' ' && (at[2] == 'T' || at[2] == 't');
}

bool force_wait(int dir_fd, uint64_t timeout_ns)
{
	uint64_t deadline = raw_now_ns() + timeout_ns;

	while (registry_alive(dir_fd)) {
		if (raw_now_ns() > deadline)
			return false;
		usleep(LOOK_US);
	}
	return true;
}

int force_end(int dir_fd, struct err *e)
{
	struct stat dir;
	int pid = holder(dir_fd, &dir);
	AUTO_FD int pidfd = pid ? (int)SYS2(SYS_pidfd_open, pid, 0) : -EBADF;

	if (!registry_alive(dir_fd))
		return 0;
	/* asked once more while we hold it: then the number was not somebody else's meanwhile */
	if (pidfd < 0 || holder(dir_fd, &dir) != pid)
		return err_set(e, ERR_KEEPER, ESRCH, "find the keeper, which does not answer");
	if (SYS4(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0) < 0)
		return err_set(e, ERR_KEEPER, EPERM, "kill the keeper, which does not answer");
	if (!force_wait(dir_fd, END_TIMEOUT_NS))
		return err_set(e, ERR_KEEPER, ETIMEDOUT, "wait for the end of a killed keeper");
	return 0;
}
