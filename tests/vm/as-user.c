/* SPDX-License-Identifier: Apache-2.0 */
/*
 * as-user COMMAND [ARGUMENT...]: in the guest of the VM lane, as root: becomes the ordinary user
 * (1234) and executes COMMAND. On cgroup v2 it does so alone in a new cgroup, as `systemd-run
 * --user
 * --scope -p Delegate=yes` would, or, where guest made no delegated subtree, in the cgroup of a
 * login session. Static and in C since each exec of a dynamic program takes a tenth of a second
 * there.
 *
 * Must not be used outside the guest: it takes the cgroup tree to be guest-cgroups.sh's.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define USER_ID 1234
#define USER_SLICE "/sys/fs/cgroup/user.slice/user-1234.slice/"
#define APP_SLICE USER_SLICE "user@1234.service/app.slice"
#define SESSION USER_SLICE "session-2.scope"

static int scope_is_empty(int slice_fd, const char *name)
{
	char path[512], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", name);
	fd = openat(slice_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strstr(text, "populated 0") != NULL;
}

/* As systemd does: an empty scope goes with what was made in it. cleave leaves two directories. */
static void scope_sweep(int slice_fd, const char *name)
{
	static const char *const inside[] = {"/cleave/keepers", "/cleave", ""};
	char path[512];

	if (!scope_is_empty(slice_fd, name))
		return;
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", name, inside[i]);
		unlinkat(slice_fd, path, AT_REMOVEDIR);
	}
}

/*
 * Removes the scopes whose command has ended; the others are busy and stay. Under the lock: one
 * that somebody else made a moment ago and has not entered yet is not busy either.
 */
static void scopes_sweep(int slice_fd)
{
	DIR *dir = fdopendir(dup(slice_fd));

	if (!dir)
		err(125, APP_SLICE);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		if (!strncmp(entry->d_name, "run-", 4))
			scope_sweep(slice_fd, entry->d_name);
	closedir(dir);
}

/* What systemd gives to the user in a delegated directory, and nothing else. */
static void scope_own(int scope_fd)
{
	static const char *const files[] = {"cgroup.procs", "cgroup.subtree_control",
					    "cgroup.threads"};

	if (fchown(scope_fd, USER_ID, USER_ID) < 0)
		err(125, "chown");
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (fchownat(scope_fd, files[i], USER_ID, USER_ID, 0) < 0)
			err(125, "chown %s", files[i]);
	if (fsetxattr(scope_fd, "user.delegate", "1", 1, 0) < 0)
		err(125, "user.delegate");
}

static void enter(int dir_fd)
{
	int procs_fd = openat(dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (procs_fd < 0 || write(procs_fd, "0", 1) != 1)
		err(125, "cgroup.procs");
	close(procs_fd);
}

static void scope_enter(int slice_fd)
{
	char name[64];
	int scope_fd;

	if (flock(slice_fd, LOCK_EX) < 0)
		err(125, "lock " APP_SLICE);
	scopes_sweep(slice_fd);
	snprintf(name, sizeof(name), "run-%d.scope", (int)getpid());
	if (mkdirat(slice_fd, name, 0755) < 0)
		err(125, "%s", name);
	scope_fd = openat(slice_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (scope_fd < 0)
		err(125, "%s", name);
	scope_own(scope_fd);
	enter(scope_fd);
	close(scope_fd);
	flock(slice_fd, LOCK_UN);
}

static void session_enter(void)
{
	int dir_fd = open(SESSION, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd >= 0)
		enter(dir_fd);
	else if (errno != ENOENT) /* v1 and none have no such directory */
		err(125, SESSION);
}

int main(int argc, char **argv)
{
	int slice_fd = open(APP_SLICE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (argc < 2)
		errx(125, "usage: as-user COMMAND [ARGUMENT...]");
	if (slice_fd >= 0)
		scope_enter(slice_fd);
	else
		session_enter();
	/* The change of all three user ids also clears the capability sets. */
	if (setgroups(0, NULL) < 0 || setresgid(USER_ID, USER_ID, USER_ID) < 0 ||
	    setresuid(USER_ID, USER_ID, USER_ID) < 0)
		err(125, "set ids");
	if (setenv("HOME", "/home/user", 1) < 0 || setenv("USER", "user", 1) < 0 ||
	    setenv("LOGNAME", "user", 1) < 0 || setenv("XDG_RUNTIME_DIR", "/run/user/1234", 1) < 0)
		err(125, "environment");
	execvp(argv[1], argv + 1);
	err(errno == ENOENT ? 127 : 126, "%s", argv[1]);
}
