/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of a command: what the child that init forks does on itself before exec, for the main
 * command and for every exec alike. Freestanding.
 */
#include "box/init.h"

#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/limits.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/seccomp.h>

#define TIOCSCTTY_ 0x540e
#define EACCES_ 13
#define EINVAL_ 22
#define ENOENT_ 2
#define ENOTDIR_ 20
#define ESTALE_ 116
#define ENOEXEC_ 8
#define ENAMETOOLONG_ 36
#define CLOSE_RANGE_FROM 4
#define RLIMIT_INHERIT UINT64_MAX

struct rlimit_pair {
	uint64_t soft, hard;
};

static long set_limit(int what, uint64_t soft, uint64_t hard)
{
	struct rlimit_pair l = {soft, hard};

	return SYS4(SYS_prlimit64, 0, what, &l, 0);
}

/* Never above the hard limit that was inherited: nobody here may raise it. */
static long lower_limit(int what, uint64_t soft, uint64_t hard)
{
	struct rlimit_pair now;
	long r = SYS4(SYS_prlimit64, 0, what, 0, &now);

	if (r < 0)
		return r;
	if (hard > now.hard)
		hard = now.hard;
	return set_limit(what, soft < hard ? soft : hard, hard);
}

long cmd_own_cgroup(struct command *c)
{
	for (uint32_t i = 0; i < c->n_tasks; i++) {
		long r = raw_write(c->tasks_fd[i], "0\n", 2);

		if (r < 0)
			return r;
	}
	return 0;
}

long cmd_session(struct command *c)
{
	long r = SYS0(SYS_setsid);

	(void)c;
	return r < 0 ? r : 0;
}

long cmd_terminal(struct command *c)
{
	return SYS3(SYS_ioctl, c->tty_fd, TIOCSCTTY_, 0);
}

long cmd_stdio(struct command *c)
{
	for (int i = 0; i < 3; i++) {
		long r = SYS3(SYS_dup3, c->tty_fd >= 0 ? c->tty_fd : c->stdio_fd[i], i, 0);

		if (r < 0)
			return r;
	}
	return 0;
}

long cmd_signals(struct command *c)
{
	uint64_t none = 0;

	(void)c;
	return SYS4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, sizeof(none));
}

long cmd_umask(struct command *c)
{
	(void)c;
	(void)SYS1(SYS_umask, 022);
	return 0;
}

long cmd_personality(struct command *c)
{
	long r = SYS1(SYS_personality, c->cmd->personality);

	return r < 0 ? r : 0;
}

long cmd_unpin(struct command *c)
{
	long r = SYS3(SYS_sched_setaffinity, 0, c->cmd->affinity_bytes, c->cmd->affinity);

	/* none of them is in the set that was asked for: then all of those that are */
	return r == -EINVAL_ && c->plan->facts & PLAN_CPUSET ? 0 : r;
}

long cmd_core_limit(struct command *c)
{
	(void)c;
	return lower_limit(RLIMIT_CORE, 1, 1);
}

long cmd_priority_limit(struct command *c)
{
	long r = lower_limit(RLIMIT_RTPRIO, 0, 0);

	(void)c;
	return r < 0 ? r : lower_limit(RLIMIT_NICE, 0, 0);
}

long cmd_nofile_limit(struct command *c)
{
	return lower_limit(RLIMIT_NOFILE, c->cmd->nofile_soft, c->cmd->nofile_hard);
}

long cmd_fsize_limit(struct command *c)
{
	return lower_limit(RLIMIT_FSIZE, c->cmd->fsize, c->cmd->fsize);
}

long cmd_stack_limit(struct command *c)
{
	return lower_limit(RLIMIT_STACK, c->cmd->stack, c->cmd->stack);
}

long cmd_cpu_limit(struct command *c)
{
	return lower_limit(RLIMIT_CPU, c->cmd->cpu_seconds, c->cmd->cpu_seconds + 1);
}

long cmd_tag(struct command *c)
{
	/* above what we may set it is refused: a limit that nobody can enforce ends the command */
	return set_limit(RLIMIT_LOCKS, c->cmd->tag, c->cmd->tag);
}

long cmd_groups(struct command *c)
{
	(void)c;
	return SYS2(SYS_setgroups, 0, 0);
}

long cmd_gid(struct command *c)
{
	return SYS3(SYS_setresgid, c->cmd->gid, c->cmd->gid, c->cmd->gid);
}

long cmd_uid(struct command *c)
{
	long r = SYS3(SYS_setresuid, c->cmd->uid, c->cmd->uid, c->cmd->uid);

	/* fs.suid_dumpable decides after a change of ids: until the filter stands nobody inside may
	 * write into us; exec sets it anew */
	return r < 0 ? r : raw_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

long cmd_drop_caps(struct command *c)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct kept[2] = {{0}};

	for (int i = 0; i < 2; i++)
		kept[i].permitted = kept[i].effective = (uint32_t)(c->cmd->caps >> (32 * i));
	return SYS2(SYS_capset, &head, kept);
}

long cmd_workdir(struct command *c)
{
	char path[PATH_MAX];
	long r = SYS1(SYS_chdir, plan_text(c->cmd, c->cmd->cwd));

	if (r < 0)
		return r;
	r = SYS2(SYS_getcwd, path, sizeof(path));
	if (r < 0)
		return r;
	/* "(unreachable)/...": a directory of another mount namespace, the door of CVE-2024-21626
	 */
	return path[0] == '/' || raw_without(c->cmd->test_without, "wall", "cwd") ? 0 : -ESTALE_;
}

long cmd_close_fds(struct command *c)
{
	long r = SYS3(SYS_dup3, c->error_fd, CLOSE_RANGE_FROM - 1, O_CLOEXEC);

	if (r < 0 && c->error_fd != CLOSE_RANGE_FROM - 1)
		return r;
	c->error_fd = CLOSE_RANGE_FROM - 1;
	return SYS3(SYS_close_range, CLOSE_RANGE_FROM, ~0u, 0);
}

long cmd_no_new_privs(struct command *c)
{
	(void)c;
	return raw_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static long load_filter(const struct plan *p, uint32_t at, uint32_t len)
{
	struct sock_fprog prog = {
		.len = (unsigned short)len,
		.filter = (struct sock_filter *)((const char *)p + at),
	};

	return SYS3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

long cmd_seccomp(struct command *c)
{
	return load_filter(c->plan, c->plan->filter, c->plan->filter_len);
}

long cmd_profile(struct command *c)
{
	return load_filter(c->plan, c->plan->profile, c->plan->profile_len);
}

/* One candidate "DIR/NAME" of the search path into buf; returns the rest of the path, or NULL at
 * its end. */
static const char *next_candidate(const char *path, const char *name, char *buf, size_t size)
{
	size_t n = 0, len = raw_strlen(name);

	if (!*path)
		return 0;
	while (path[n] && path[n] != ':')
		n++;
	if (n + 1 + len + 1 > size)
		return 0;
	memcpy(buf, path, n);
	buf[n] = '/';
	memcpy(buf + n + 1, name, len + 1);
	return path + n + (path[n] == ':');
}

static bool has_slash(const char *s)
{
	for (; *s; s++)
		if (*s == '/')
			return true;
	return false;
}

long cmd_exec(struct command *c)
{
	/* offsets become pointers on our own stack's heap-free scratch: the pages behind the plan
	 * are private */
	const uint32_t *argv_at = (const uint32_t *)((const char *)c->cmd + c->cmd->argv);
	const uint32_t *env_at = (const uint32_t *)((const char *)c->cmd + c->cmd->env);
	size_t n = c->cmd->argc + c->cmd->envc + 2;
	const char **v = (const char **)SYS6(SYS_mmap, 0, n * sizeof(*v), 3, 0x22, -1, 0);
	const char **argv = v, **envp = v + c->cmd->argc + 1;
	const char *name, *path = plan_text(c->cmd, c->cmd->path);
	char buf[PATH_MAX];
	long r, worst = -ENOENT_;

	if ((long)v < 0 && (long)v > -4096)
		return (long)v;
	for (uint32_t i = 0; i < c->cmd->argc; i++)
		argv[i] = plan_text(c->cmd, argv_at[i]);
	for (uint32_t i = 0; i < c->cmd->envc; i++)
		envp[i] = plan_text(c->cmd, env_at[i]);
	name = argv[0];
	if (!*name) /* would be found as every directory of the path */
		return -ENOENT_;
	if (has_slash(name))
		return SYS3(SYS_execve, name, argv, envp);
	if (raw_strlen(name) > NAME_MAX)
		return -ENAMETOOLONG_;
	while ((path = next_candidate(path, name, buf, sizeof(buf)))) {
		r = SYS3(SYS_execve, buf, argv, envp);
		if (r == -EACCES_)
			worst = r;
		else if (r != -ENOENT_ && r != -ENOTDIR_)
			return r;
	}
	return worst;
}

static const struct {
	const char *name;
	uint8_t side;
	command_step *fn;
	uint64_t needs;
} rows[STEP_N] = {
#define KEEPER(fn) SIDE_KEEPER, 0
#define MEET(fn) SIDE_MEET, 0
#define INIT(fn) SIDE_INIT, 0
#define COMMAND(fn) SIDE_COMMAND, fn
#define S(id, who, fn, after, needs, why) [STEP_##id] = {#id, who(fn), needs},
#include "box/launch.def"
#undef S
#undef KEEPER
#undef MEET
#undef INIT
#undef COMMAND
};

static void tell(struct command *c, int step, long err)
{
	struct command_note note = {.fault = {step, (int32_t)err, -1}, .exec_ns = raw_now_ns()};

	note.n_trace = c->n_trace;
	memcpy(note.trace, c->trace, sizeof(note.trace));
	/* times are no reason to fail */
	(void)raw_write(c->error_fd, &note, sizeof(note));
}

_Noreturn void command_walk(struct command *c)
{
	uint64_t facts = c->cmd->facts | (c->plan->profile_len ? CMD_PROFILE : 0);

	for (unsigned i = 0; i < STEP_N; i++) {
		uint64_t began;
		long r;

		if (rows[i].side != SIDE_COMMAND || (facts & rows[i].needs) != rows[i].needs)
			continue;
		if (raw_without(c->cmd->test_without, "row", rows[i].name))
			continue;
		if (i == STEP_EXEC)
			tell(c, -1, 0);
		began = raw_now_ns();
		r = init_test_row(rows[i].name, c->cmd->test_fail, c->cmd->test_stop,
				  c->cmd->test_errno);
		if (!r)
			r = rows[i].fn(c);
		if (r < 0) {
			tell(c, (int)i, r);
			raw_exit(127);
		}
		c->trace[c->n_trace++] = (struct step_trace){(uint16_t)i, SIDE_COMMAND,
							     (uint32_t)(raw_now_ns() - began)};
	}
	raw_exit(127);
}
