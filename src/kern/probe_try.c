/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probes that must be tried out: two children, one inside the other's pid namespace, in new
 * user, mount, pid, UTS, IPC, net and cgroup namespaces of their own. What they mount is detached
 * and dies with them; nothing reaches the host.
 *
 *   caller --clone(NEWUSER)--> outer: maps ids, unshares the rest, mounts
 *                                +--clone--> inner (PID 1): /proc, set_tid, ptrace, seccomp
 *
 * The caller may have threads, so both children use raw system calls and their stack only. They
 * have no exit signal: a SIGCHLD handler of the program never hears of them.
 */
#include "kern/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kern/seccomp.h"
#include "raw/mem.h"
#include "raw/syscall.h"

#define SIG_KILL 9

struct side {
	struct probe_trial *t;
	char map[2][64]; /* uid_map, gid_map of the outer child */
	size_t map_len[2];
};

/* Writes the kernel's answer down unless the feature has a refusal already. True when it is fine.
 */
static bool note(struct side *s, enum probe_id id, long answer)
{
	if (s->t->code[id] <= 0)
		s->t->code[id] = answer < 0 ? (int)-answer : 0;
	return answer >= 0;
}

static long clone_plain(unsigned long flags)
{
	return SYS5(SYS_clone, flags, 0, 0, 0, 0);
}

static long wait_any(long pid)
{
	int status;

	return SYS4(SYS_wait4, pid, &status, __WALL, 0);
}

bool probe_try_cgroup_ns(void)
{
	long pid = clone_plain(CLONE_NEWUSER | CLONE_NEWCGROUP);

	if (pid == 0)
		raw_exit(0);
	if (pid > 0)
		wait_any(pid);
	return pid != -ENOSPC;
}

static long write_file(const char *path, const char *text, size_t n)
{
	long fd = SYS3(SYS_open, path, O_WRONLY | O_CLOEXEC, 0), r;

	if (fd < 0)
		return fd;
	r = raw_write((int)fd, text, n);
	raw_close((int)fd);
	return r;
}

/* A detached mount of a fresh file system, or a negative errno. option may be NULL. */
static long make_mount(const char *type, const char *option, const char *value)
{
	long fs = SYS2(SYS_fsopen, type, FSOPEN_CLOEXEC), r = 0, fd;

	if (fs < 0)
		return fs;
	if (option)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_SET_STRING, option, value, 0);
	if (r == 0)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
	fd = r < 0 ? r : SYS3(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID);
	raw_close((int)fs);
	return fd;
}

/* An overlay over directories of the working directory. */
static long make_overlay(void)
{
	static const char *const options[][2] = {
		{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}};
	long fs = SYS2(SYS_fsopen, "overlay", FSOPEN_CLOEXEC), r = 0, fd;

	if (fs < 0)
		return fs;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(options); i++)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0);
	if (r == 0)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "userxattr", 0, 0);
	if (r == 0)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
	fd = r < 0 ? r : SYS3(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID);
	raw_close((int)fs);
	return fd;
}

static long close_mount(long fd)
{
	return fd < 0 ? fd : raw_close((int)fd);
}

static long try_tmpfs(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	long fd = make_mount("tmpfs", "nr_inodes", "16"), r;

	if (fd < 0)
		return fd;
	r = SYS5(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	raw_close((int)fd);
	return r;
}

/*
 * `rm -r lower/dir && mkdir lower/dir`, seen through an overlay: what an overlay without user.*
 * attributes can't do. Its directories lie on a tmpfs that is mounted over our own view of /proc;
 * the mount namespace dies with us.
 */
static long try_overlay(void)
{
	static const char *const made[] = {"lower", "lower/dir", "upper", "work"};
	long fd = make_mount("tmpfs", "nr_inodes", "64"), r;

	if (fd < 0)
		return fd;
	r = SYS5(SYS_move_mount, fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH);
	if (r == 0)
		r = SYS1(SYS_fchdir, fd);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(made); i++)
		r = SYS2(SYS_mkdir, made[i], 0755);
	raw_close((int)fd);
	fd = r < 0 ? r : make_overlay();
	if (fd < 0)
		return fd;
	r = SYS3(SYS_unlinkat, fd, "dir", AT_REMOVEDIR);
	if (r == 0)
		r = SYS3(SYS_mkdirat, fd, "dir", 0755);
	raw_close((int)fd);
	return r;
}

/* ---- inner: PID 1 of its own namespace ---- */

static long try_set_tid(void)
{
	int tid = 4711;
	struct clone_args args = {.set_tid = (uint64_t)(uintptr_t)&tid, .set_tid_size = 1};
	long pid = SYS2(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		raw_exit(0);
	if (pid > 0)
		wait_any(pid);
	return pid > 0 && pid != tid ? -EINVAL : pid;
}

static long try_ptrace(void)
{
	long pid = clone_plain(0), r;

	if (pid == 0)
		for (;;)
			SYS0(SYS_pause);
	if (pid < 0)
		return pid;
	r = SYS4(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0);
	SYS2(SYS_kill, pid, SIG_KILL);
	wait_any(pid);
	return r;
}

static long try_seccomp(void)
{
	struct seccomp_program p = seccomp_default(SECCOMP_SHARED_ID);
	struct sock_fprog prog = {p.len, (struct sock_filter *)p.insns};

	if (raw_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -EINVAL;
	return SYS3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

_Noreturn static void inner(struct side *s)
{
	static const char limit[] = "sys/user/max_net_namespaces";
	long proc = make_mount("proc", NULL, NULL), fd = proc;

	note(s, PROBE_PROC_MOUNT, proc);
	if (proc >= 0)
		fd = SYS4(SYS_openat, proc, limit, O_WRONLY | O_CLOEXEC, 0);
	note(s, PROBE_NS_LIMITS, fd < 0 ? fd : raw_write((int)fd, "0\n", 2));
	note(s, PROBE_SET_TID, try_set_tid());
	note(s, PROBE_PTRACE, try_ptrace());
	note(s, PROBE_SECCOMP, try_seccomp()); /* last: it binds us */
	raw_exit(0);
}

/* ---- outer ---- */

static void unshare_each(struct side *s)
{
	static const struct {
		enum probe_id id;
		unsigned long flag;
	} spaces[] = {
		{PROBE_UTS_NS, CLONE_NEWUTS},       {PROBE_MOUNT_NS, CLONE_NEWNS},
		{PROBE_IPC_NS, CLONE_NEWIPC},       {PROBE_NET_NS, CLONE_NEWNET},
		{PROBE_CGROUP_NS, CLONE_NEWCGROUP}, {PROBE_PID_NS, CLONE_NEWPID},
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(spaces); i++)
		note(s, spaces[i].id, SYS1(SYS_unshare, spaces[i].flag));
}

_Noreturn static void outer(struct side *s)
{
	long r, pid;

	write_file("/proc/self/setgroups", "deny",
		   4); /* fails for good where it is denied already */
	r = write_file("/proc/self/uid_map", s->map[0], s->map_len[0]);
	if (r >= 0)
		r = write_file("/proc/self/gid_map", s->map[1], s->map_len[1]);
	note(s, PROBE_ID_MAP, r);
	unshare_each(s);
	/* only in a host name of its own; where that failed the capabilities did */
	r = s->t->code[PROBE_UTS_NS] ? -s->t->code[PROBE_UTS_NS]
				     : SYS2(SYS_sethostname, "probe", 5);
	note(s, PROBE_USER_NS_CAPS, r);
	if (s->t->code[PROBE_MOUNT_NS] == 0) {
		note(s, PROBE_TMPFS, try_tmpfs());
		note(s, PROBE_DEVPTS, close_mount(make_mount("devpts", "ptmxmode", "0666")));
	}
	if (s->t->code[PROBE_PID_NS] == 0) {
		pid = clone_plain(0);
		if (pid == 0)
			inner(s);
		if (pid > 0)
			wait_any(pid);
	}
	if (s->t->code[PROBE_MOUNT_NS] == 0)
		note(s, PROBE_OVERLAY, try_overlay()); /* last: it covers /proc */
	raw_exit(0);
}

static void format_map(struct side *s, int which, unsigned id)
{
	int n = snprintf(s->map[which], sizeof(s->map[which]), "0 %u 1\n", id);

	s->map_len[which] = n > 0 ? (size_t)n : 0;
}

int probe_try_namespaces(struct probe_trial *t)
{
	struct side s = {.t = t};
	long pid;

	format_map(&s, 0, geteuid());
	format_map(&s, 1, getegid());
	pid = clone_plain(CLONE_NEWUSER);
	if (pid == 0)
		outer(&s);
	note(&s, PROBE_USER_NS, pid);
	return pid < 0 ? (int)pid : (int)(wait_any(pid) < 0 ? -ECHILD : 0);
}

/* ---- idmapped mounts: need a user namespace to take the map from, kept by a child ---- */

static long idmap_tmpfs(long child)
{
	static const char map[] = "0 1000 1\n";
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};
	char path[64];
	long ns, fd, r;

	snprintf(path, sizeof(path), "/proc/%ld/uid_map", child);
	r = write_file(path, map, sizeof(map) - 1);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%ld/gid_map", child);
	r = write_file(path, map, sizeof(map) - 1);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%ld/ns/user", child);
	ns = SYS3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	if (ns < 0)
		return ns;
	fd = make_mount("tmpfs", NULL, NULL);
	attr.userns_fd = (uint64_t)ns;
	r = fd < 0 ? fd : SYS5(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	close_mount(fd);
	raw_close((int)ns);
	return r;
}

int probe_try_idmapped(void)
{
	long child = clone_plain(CLONE_NEWUSER), r;

	if (child == 0)
		for (;;)
			SYS0(SYS_pause);
	if (child < 0)
		return (int)-child;
	r = idmap_tmpfs(child);
	SYS2(SYS_kill, child, SIG_KILL);
	wait_any(child);
	return r < 0 ? (int)-r : 0;
}
