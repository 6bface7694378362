/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's rows of the launch table. Hosted code, run before and around the clone. */
#include "box/keeper.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "box/idmap.h"
#include "init-blob.h"
#include "kern/probe.h"
#include "raw/mem.h"
#include "raw/syscall.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#define CHILD_STACK (64 << 10)

#ifdef CLEAVE_DEV
int keeper_test_row(const struct plan *p, const char *row)
{
	if (strcmp(p->test_stop, row) == 0)
		raise(SIGSTOP);
	return strcmp(p->test_fail, row) == 0 ? -p->test_errno : 0;
}
#endif

int keeper_pin(struct keeper_side *k)
{
	cpu_set_t one;
	long n = SYS3(SYS_sched_getaffinity, 0, sizeof(k->box->affinity), k->box->affinity);
	unsigned cpu = 0;

	/* more processors than the mask holds: only slower */
	if (n < 0 || SYS3(SYS_getcpu, &cpu, 0, 0) < 0 || cpu >= CPU_SETSIZE)
		return 0;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (SYS3(SYS_sched_setaffinity, 0, sizeof(one), &one) == 0)
		k->box->affinity_bytes = (uint32_t)n;
	return 0;
}

int keeper_cgroup(struct keeper_side *k)
{
	uint64_t facts = k->plan->facts;
	uint32_t want = k->q->extra_cgroups;
	struct cgroup *cg = &k->box->cgroup;
	int r;

	want |= facts & PLAN_MEMORY ? CGROUP_BIT(CGROUP_MEMORY) : 0;
	want |= facts & PLAN_PIDS ? CGROUP_BIT(CGROUP_PIDS) : 0;
	want |= facts & PLAN_CPUS ? CGROUP_BIT(CGROUP_CPU) : 0;
	want |= facts & PLAN_CPUSET ? CGROUP_BIT(CGROUP_CPUSET) : 0;
	want |= facts & PLAN_IO ? CGROUP_BIT(CGROUP_IO) | CGROUP_BIT(CGROUP_MEMORY) : 0;
	want |= facts & PLAN_CPU_TIME ? CGROUP_BIT(CGROUP_CPUACCT) : 0;
	/* processor time of the whole tree; a directory only for it is not worth its price */
	if (cgroup_comes_along(k->q->cgroups, want, CGROUP_CPUACCT))
		want |= CGROUP_BIT(CGROUP_CPUACCT);
	r = cgroup_paths(k->q->cgroups, k->q->id, want, cg, k->e);
	for (int i = 0; r == 0 && i < cg->dir_n; i++)
		if (k->q->journal.will_make)
			r = k->q->journal.will_make(k->q->journal.arg, "cgroup", cg->dir[i].path,
						    k->e);
	if (r == 0)
		r = cgroup_create(cg, k->e);
	if (r < 0) {
		cg->dir_n = 0;
		return r;
	}
	r = cgroup_join_open(cg, &k->join, k->e);
	if (r < 0)
		return r;
	if (k->join.tasks_n)
		k->plan->facts |= PLAN_CGROUP_V1;
	return 0;
}

int keeper_memory(struct keeper_side *k)
{
	const struct spec_limits *l = &k->q->spec->limits;
	int r = cgroup_limit_memory(&k->box->cgroup, l->memory_bytes,
				    l->swap_bytes == SPEC_UNSET ? 0 : l->swap_bytes, k->e);

	if (r == 0 && raw_without(k->plan->test_without, "limit", "swap"))
		r = 1;
	if (r == 1 && k->result)
		plan_swap_is_free(k->result);
	if (r == 1 && !k->q->spec->degrade) {
		err_set(k->e, ERR_LIMIT, 0,
			"--memory: this kernel does not account swap, so it can't be bounded");
		err_hint(k->e,
			 "boot with swapaccount=1, or switch swap off, or go on with --degrade");
		return -EOPNOTSUPP;
	}
	return r < 0 ? r : 0;
}

int keeper_pids(struct keeper_side *k)
{
	/* init counts too; the user asked for their own processes */
	return cgroup_limit_pids(&k->box->cgroup, k->q->spec->limits.pids + 1, k->e);
}

int keeper_cpus(struct keeper_side *k)
{
	return cgroup_limit_cpu(&k->box->cgroup, k->q->spec->limits.cpus_milli, k->e);
}

int keeper_cpuset(struct keeper_side *k)
{
	return cgroup_limit_cpuset(&k->box->cgroup, k->q->spec->cpuset, k->e);
}

int keeper_io(struct keeper_side *k)
{
	return cgroup_limit_io(&k->box->cgroup, k->q->spec->limits.io_bytes, k->e);
}

int keeper_hand_cgroup(struct keeper_side *k)
{
	int r = box_join_send(k->box, &k->join);

	if (r == 0)
		cgroup_join_close(&k->join);
	return r;
}

int keeper_command(struct keeper_side *k)
{
	return k->q->ahead(k->q->ahead_arg, k->e);
}

int box_memfd(const char *name, const void *data, size_t size, bool executable, struct err *e)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	AUTO_FD int fd = memfd_create(name, flags | (executable ? MFD_EXEC : 0));

	if (fd < 0 && errno == EINVAL && executable) /* before 6.3 every memfd can be executed */
		fd = memfd_create(name, flags);
	if (fd < 0) {
		if (executable && errno == EACCES)
			err_hint(e, "sysctl vm.memfd_noexec=1 allows what cleave needs");
		return err_set(e, ERR_HOST, errno, "make a memfd");
	}
	if (write(fd, data, size) != (ssize_t)size)
		return err_set(e, ERR_HOST, errno ? errno : ENOSPC, "write a memfd");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return err_set(e, ERR_HOST, errno, "seal a memfd");
	return take_fd(&fd);
}

int box_init_memfd(struct err *e)
{
	return box_memfd("cleave-init", init_blob, sizeof(init_blob), true, e);
}

int keeper_write_plan(struct keeper_side *k)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(k->e, ERR_HOST, errno, "make a socket pair");
	k->box->sock_fd = pair[0];
	k->init_sock_fd = pair[1];
	k->plan->sock_fd = pair[1];
	k->plan->affinity_bytes = k->box->affinity_bytes;
	memcpy(k->plan->affinity, k->box->affinity, sizeof(k->plan->affinity));
	k->plan_fd = box_memfd("cleave-plan", k->plan, k->q->plan->size, false, k->e);
	if (k->plan_fd < 0)
		return k->plan_fd;
	if (!k->q->restore)
		k->exe_fd = box_init_memfd(k->e);
	else if ((k->exe_fd = fcntl(k->q->restore->exe_fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return err_set(k->e, ERR_HOST, errno, "duplicate a descriptor");
	return k->exe_fd < 0 ? k->exe_fd : 0;
}

struct child {
	const struct plan *plan;
	int plan_fd, exe_fd;
	long err;
};

static __attribute__((no_sanitize("address", "undefined"))) void keep_open(int fd)
{
	if (fd >= 0)
		(void)SYS3(SYS_fcntl, fd, F_SETFD, 0); /* init misses it by name */
}

/*
 * The child before init: in our memory, on a stack of its own, nothing but system calls. It makes
 * every capability ambient, because ids are not mapped yet and exec would drop the others.
 */
static __attribute__((no_sanitize("address", "undefined"), noreturn)) void child_main(void *arg)
{
	struct child *c = arg;
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	const struct plan_entry *entry = plan_entries(c->plan);
	char number[24];
	const char *argv[3], *envp[1];

	argv[0] = "cleave-init";
	argv[1] = number;
	argv[2] = 0;
	envp[0] = 0;
	c->err = SYS2(SYS_capget, &head, data);
	data[0].inheritable = data[0].permitted;
	data[1].inheritable = data[1].permitted;
	if (c->err == 0)
		c->err = SYS2(SYS_capset, &head, data);
	for (unsigned long cap = 0; cap < 64 && c->err == 0; cap++)
		if (data[cap / 32].permitted & 1u << cap % 32)
			c->err = raw_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	if (c->err == 0 && !raw_without(c->plan->test_without, "wall", "fds"))
		c->err = SYS3(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	keep_open(c->plan_fd);
	keep_open(c->plan->sock_fd);
	for (uint32_t i = 0; i < c->plan->n_entries; i++)
		keep_open(entry[i].fd);
	raw_format_u64(number, (uint64_t)c->plan_fd);
	if (c->err == 0)
		c->err = SYS5(SYS_execveat, c->exe_fd, "", argv, envp, AT_EMPTY_PATH);
	raw_exit(127);
}

/* Development builds: namespaces that shall not be made. */
static uint64_t namespaces_without(const struct plan *p)
{
	uint64_t flags = 0;

	(void)p;
	flags |= raw_without(p->test_without, "ns", "pid") ? CLONE_NEWPID : 0;
	flags |= raw_without(p->test_without, "ns", "mnt") ? CLONE_NEWNS : 0;
	flags |= raw_without(p->test_without, "ns", "uts") ? CLONE_NEWUTS : 0;
	flags |= raw_without(p->test_without, "ns", "ipc") ? CLONE_NEWIPC : 0;
	return flags;
}

int keeper_clone(struct keeper_side *k)
{
	struct child child = {k->plan, k->plan_fd, k->exe_fd, 0};
	uint64_t every = ~UINT64_C(0), old;
	int pidfd = -EBADF;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID |
			 CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.stack_size = CHILD_STACK,
	};
	void *stack =
		mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long pid;

	if (stack == MAP_FAILED)
		return err_set(k->e, ERR_INTERNAL, errno, "get a stack");
	args.stack = (uintptr_t)stack;
	args.flags &= ~namespaces_without(k->plan);
	if (k->join.clone_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)k->join.clone_fd;
	}
	/* no handler of ours may run in the child, which shares our memory */
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &every, &old, sizeof(every));
	pid = raw_clone_call(&args, sizeof(args), child_main, &child);
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
	munmap(stack, CHILD_STACK);
	if (pid < 0) {
		probe_hint_user_ns((int)-pid, k->e);
		return err_set(k->e, ERR_LAYER, (int)pid, "make the namespaces");
	}
	k->box->init_pid = (pid_t)pid;
	k->box->pidfd = pidfd;
	close_fd(&k->init_sock_fd);
	if (child.err == -EACCES || child.err == -EPERM) /* made, but without any right in it */
		probe_hint_powerless(k->e);
	if (child.err < 0)
		return err_set(k->e, ERR_LAUNCH, (int)child.err, "execute init");
	return 0;
}

static int write_proc(struct keeper_side *k, const char *file, const char *text)
{
	char path[64];
	AUTO_FD int fd = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/%s", k->box->init_pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT)
			err_hint(k->e, "is /proc mounted here?");
		return err_set(k->e, ERR_HOST, errno, "open %s of init", file);
	}
	if (write(fd, text, strlen(text)) < 0)
		return err_set(k->e, ERR_LAYER, errno, "write '%s' to %s of init", text, file);
	return 0;
}

int keeper_oom_score(struct keeper_side *k)
{
	AUTO_FD int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
	char text[16];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (n <= 0)
		return err_set(k->e, ERR_HOST, n < 0 ? errno : EIO, "read our oom_score_adj");
	/* more than others have is the caller's choice */
	return text[0] == '-' ? write_proc(k, "oom_score_adj", "0") : 0;
}

int keeper_core_ceiling(struct keeper_side *k)
{
	struct rlimit one = {1, 1}, own;
	AUTO_FD int fd = -EBADF;
	char first = '|';

	if (getrlimit(RLIMIT_CORE, &own) < 0)
		return err_set(k->e, ERR_HOST, errno, "read our limit of core files");
	if (own.rlim_max > 0 || prlimit(k->box->init_pid, RLIMIT_CORE, &one, NULL) == 0)
		return 0;
	if (errno != EPERM)
		return err_set(k->e, ERR_LAYER, errno, "set init's limit of core files");
	/* 0 keeps core files away, but not the helper where the pattern names one */
	fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, &first, 1) < 0)
		return err_set(k->e, ERR_HOST, errno, "read kernel.core_pattern");
	if (first == '|' && k->result)
		plan_core_helper_runs(k->result);
	return 0;
}

int keeper_setgroups(struct keeper_side *k)
{
	return write_proc(k, "setgroups", "deny");
}

static int write_map(struct keeper_side *k, const char *file, const struct plan_idmap *m)
{
	char text[64];

	snprintf(text, sizeof(text), "%u %u %u", m->inside, m->outside, m->count);
	return write_proc(k, file, text);
}

int keeper_uid_map(struct keeper_side *k)
{
	return write_map(k, "uid_map", &k->plan->uid_map);
}

int keeper_gid_map(struct keeper_side *k)
{
	return write_map(k, "gid_map", &k->plan->gid_map);
}
