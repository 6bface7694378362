/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of init that are not about mounts: ids, cgroups, names, rights. Freestanding. */
#include "box/init.h"

#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/securebits.h>

#include "raw/landlock.h"
#include "raw/signals.h"

long init_die_with_keeper(struct init *s)
{
	(void)s;
	/*
	 * getppid() is 0 here, so the usual check for a parent that died meanwhile is void: the end
	 * of file on the keeper's socket tells the same in every wait.
	 */
	return raw_prctl(PR_SET_PDEATHSIG, SIGKILL_, 0, 0, 0);
}

long init_default_signals(struct init *s)
{
	(void)s;
	return raw_default_signals();
}

long init_become_root(struct init *s)
{
	long r = SYS3(SYS_setresgid, 0, 0, 0);

	(void)s;
	return r < 0 ? r : SYS3(SYS_setresuid, 0, 0, 0);
}

long init_not_dumpable(struct init *s)
{
	(void)s;
	return raw_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

long init_cgroup_join(struct init *s)
{
	struct wire_request q = {0};
	int fd[WIRE_FD_MAX];
	long n = init_take(s, &q, fd, true), r = 0;

	if (n >= 0 && q.op != WIRE_CGROUP)
		r = -71 /* EPROTO */;
	for (long i = 0; i < n; i++) {
		if (r >= 0)
			r = raw_write(fd[i], "0\n", 2);
		(void)raw_close(fd[i]);
	}
	return n < 0 ? n : r < 0 ? r : 0;
}

long init_cgroup_ns(struct init *s)
{
	(void)s;
	return SYS1(SYS_unshare, CLONE_NEWCGROUP);
}

long init_hostname(struct init *s)
{
	const char *name = plan_text(s->plan, s->plan->hostname);
	long r = SYS2(SYS_sethostname, name, raw_strlen(name));

	return r < 0 ? r : SYS2(SYS_setdomainname, "", 0);
}

/* Limits of this user namespace: they hold for everything below, whatever seccomp lets through.
 * nested: what some sandboxes within this one need, each of one or two namespaces of a kind.
 * shared: the same where the workload has the caller's id. Root of a cgroup namespace may mount the
 * cgroups below it (cgroup_namespaces(7)); an ordinary user's belong to that id, with all their
 * limits. */
#define NESTED "256", "256"
static const struct {
	const char *file, *value, *nested, *shared;
} ns_limits[] = {
	{"sys/user/max_user_namespaces", "0", NESTED},
	{"sys/user/max_mnt_namespaces", "0", NESTED},
	{"sys/user/max_net_namespaces", "0", NESTED},
	{"sys/user/max_pid_namespaces", "0", NESTED},
	{"sys/user/max_ipc_namespaces", "0", NESTED},
	{"sys/user/max_uts_namespaces", "0", NESTED},
	{"sys/user/max_cgroup_namespaces", "0", "256", "0"},
	{"sys/user/max_time_namespaces", "0", NESTED},
	{"sys/user/max_inotify_instances", "128", "128", "128"},
	{"sys/user/max_inotify_watches", "65536", "65536", "65536"},
};

long init_ns_limits(struct init *s)
{
	for (unsigned i = 0; i < sizeof(ns_limits) / sizeof(ns_limits[0]); i++) {
		const char *value = !(s->plan->facts & PLAN_NEST) ? ns_limits[i].value
				    : s->plan->facts & PLAN_ROOT  ? ns_limits[i].nested
								  : ns_limits[i].shared;
		long fd = SYS3(SYS_openat, s->proc_fd, ns_limits[i].file, O_WRONLY | O_CLOEXEC), r;

		s->object = (int32_t)i;
		if (fd < 0)
			return fd;
		r = raw_without(s->plan->test_without, "count", ns_limits[i].file)
			    ? 0
			    : raw_write((int)fd, value, raw_strlen(value));
		(void)raw_close((int)fd);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What the whole root gets, and what a place that can be written gets on top. */
#define ACCESS_ROOT (RAW_LANDLOCK_READ | RAW_LANDLOCK_EXEC)
#define ACCESS_WRITABLE (ACCESS_ROOT | RAW_LANDLOCK_WRITE | RAW_LANDLOCK_IOCTL)
#define LANDLOCK_RULES 64

static bool is_writable(const struct plan_entry *e)
{
	if (e->kind == PLAN_BIND || e->kind == PLAN_BIND_FD)
		return !(e->flags & PLAN_READ_ONLY);
	return e->kind == PLAN_DISK_DIR || e->kind == PLAN_TMPFS_AT;
}

/* A rule for path, which may be a file that was bound. */
static long landlock_rule(const char *path, uint32_t access, struct raw_landlock_rule *ret)
{
	long fd = SYS3(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd == -20 /* ENOTDIR */) {
		access |= RAW_LANDLOCK_FILE;
		fd = SYS3(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
	}
	*ret = (struct raw_landlock_rule){(int)fd, access};
	return fd;
}

long init_landlock(struct init *s)
{
	static struct raw_landlock_rule rules[LANDLOCK_RULES];
	static const struct {
		const char *path;
		uint32_t access;
	} fixed[] = {{"/", ACCESS_ROOT}, {"/dev", ACCESS_WRITABLE}, {"/proc", ACCESS_WRITABLE}};
	const struct plan_entry *e = plan_entries(s->plan);
	unsigned n = 0;
	long r;

	/* what judges files forbids all mounts */
	if (s->plan->facts & PLAN_NEST)
		return raw_landlock_enter(0, 0, (int)s->plan->landlock_abi);
	for (; n < sizeof(fixed) / sizeof(fixed[0]); n++) {
		/* a directory as root: what may be written is its modes' matter */
		bool whole = n == 0 && s->plan->facts & PLAN_DIR;

		r = landlock_rule(fixed[n].path, whole ? ACCESS_WRITABLE : fixed[n].access,
				  &rules[n]);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < s->plan->n_entries; i++) {
		if (!is_writable(&e[i]))
			continue;
		s->object = (int32_t)i;
		if (n == LANDLOCK_RULES)
			return -7 /* E2BIG */;
		r = landlock_rule(plan_text(s->plan, e[i].target), ACCESS_WRITABLE, &rules[n]);
		if (r < 0)
			return r;
		n++;
	}
	s->object = -1;
	r = raw_landlock_enter(rules, n, (int)s->plan->landlock_abi);
	while (n--)
		(void)raw_close(rules[n].fd);
	return r;
}

long init_bounding_set(struct init *s)
{
	for (unsigned long cap = 0; cap < 64; cap++) {
		long r = s->plan->caps & UINT64_C(1) << cap
				 ? 0
				 : raw_prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);

		if (r == -22 /* EINVAL: past the last capability of this kernel */)
			return cap > CAP_SETPCAP ? 0 : r;
		if (r < 0)
			return r;
	}
	return 0;
}

long init_ids(struct init *s)
{
	long r = raw_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);

	if (r == 0)
		r = SYS2(SYS_setgroups, 0, 0);
	if (r == 0)
		r = SYS3(SYS_setresgid, s->plan->init_gid, s->plan->init_gid, s->plan->init_gid);
	if (r == 0)
		r = SYS3(SYS_setresuid, s->plan->init_uid, s->plan->init_uid, s->plan->init_uid);
	if (r == 0) /* setresuid makes a process dumpable as suid_dumpable says: say it again */
		r = raw_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return r;
}

long init_caps(struct init *s)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	long r = raw_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

	if (r < 0)
		return r;
	data[0].effective = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL;
	/* what a command of root may keep it must have from us: exec gives nothing here */
	data[0].permitted = data[0].effective | (uint32_t)s->plan->caps;
	data[1].permitted = (uint32_t)(s->plan->caps >> 32);
	return SYS2(SYS_capset, &head, data);
}

long init_no_new_privs(struct init *s)
{
	(void)s;
	return raw_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
