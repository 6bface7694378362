/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1's loop: takes commands from the keeper, forks them, reaps everything, keeps their
 * deadlines. Freestanding; single-threaded; never waits for one child only, since a sibling of the
 * same uid may stop it.
 */
#include "box/init.h"
#include "box/init_tree.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/poll.h>
#include <linux/resource.h>
#include <linux/signal.h>
#include <linux/wait.h>

#include "raw/cpu_pace.h"

#define SIGCHLD_ 17
#define ENOMEM_ 12
#define EMFILE_ 24
#define EPROTO_ 71
#define ECANCELED_ 125

enum slot_state { SLOT_FREE, SLOT_STARTING, SLOT_RUNNING };

struct slot {
	uint8_t state;
	bool main;
	uint32_t id;
	int32_t pid;
	int32_t error_fd;
	uint64_t exec_ns;
	uint64_t timeout_ns, deadline_ns; /* 0: none */
	struct cpu_pace cpu;
	uint64_t tag;              /* of an exec whose tree is ours to find; 0: none */
	struct tree_usage orphans; /* what we reaped of that tree */
	bool noted;                /* the child said that it is about to exec */
};

static struct slot slots[WIRE_MAX_COMMANDS];
static unsigned n_slots; /* slots beyond were never used */
static int signal_fd;

struct timeval64 {
	int64_t sec, usec;
};

struct rusage64 {
	struct timeval64 user, system;
	int64_t max_rss_kb;
	int64_t rest[11];
	int64_t csw_voluntary, csw_forced;
};

static uint64_t timeval_ns(const struct timeval64 *t)
{
	return (uint64_t)t->sec * 1000000000u + (uint64_t)t->usec * 1000u;
}

static struct slot *slot_of_pid(int32_t pid)
{
	for (unsigned i = 0; i < n_slots; i++)
		if (slots[i].state != SLOT_FREE && slots[i].pid == pid)
			return &slots[i];
	return 0;
}

static struct slot *slot_of_id(uint32_t id)
{
	for (unsigned i = 0; i < n_slots; i++)
		if (slots[i].state != SLOT_FREE && slots[i].id == id)
			return &slots[i];
	return 0;
}

static struct slot *slot_new(void)
{
	for (unsigned i = 0; i < WIRE_MAX_COMMANDS; i++)
		if (slots[i].state == SLOT_FREE) {
			if (i >= n_slots)
				n_slots = i + 1;
			return &slots[i];
		}
	return 0;
}

static void refuse(const struct init *s, uint32_t id, int step, long err)
{
	struct wire_reply r = {.op = WIRE_REFUSED, .id = id, .fault = {step, (int32_t)err, -1}};

	(void)init_send(s, &r, -1);
}

/* Forks the command. fds: 0, 1, 2, nothing with a terminal, then the cgroups that are its own.
 * Returns 0 or a negative errno. */
static long spawn(const struct init *s, const struct wire_request *q, const struct cmd *cmd,
		  const int *fds)
{
	const int *own = fds + (cmd->facts & CMD_TTY ? 0 : 3);
	struct command c = {
		.plan = s->plan, .cmd = cmd, .tty_fd = -1, .tasks_fd = own, .n_tasks = q->n_tasks};
	struct slot *slot = slot_new();
	int pipe_fd[2];
	long master = -1, pid, r;

	if (!slot)
		return -EMFILE_;
	for (int i = 0; i < 3; i++)
		c.stdio_fd[i] = cmd->facts & CMD_TTY ? -1 : fds[i];
	if (cmd->facts & CMD_TTY) {
		master = init_terminal(cmd, &c.tty_fd);
		if (master < 0)
			return master;
	}
	r = SYS2(SYS_pipe2, pipe_fd, O_CLOEXEC | O_NONBLOCK);
	if (r < 0)
		return r;
	c.error_fd = pipe_fd[1];
	pid = init_fork(q->into ? own[q->n_tasks] : -1);
	if (pid == 0)
		command_walk(&c);
	(void)raw_close(pipe_fd[1]);
	if (c.tty_fd >= 0)
		(void)raw_close(c.tty_fd);
	if (pid < 0) {
		(void)raw_close(pipe_fd[0]);
		if (master >= 0)
			(void)raw_close((int)master);
		return pid;
	}
	*slot = (struct slot){.state = SLOT_STARTING,
			      .main = cmd->facts & CMD_MAIN,
			      .id = q->id,
			      .pid = (int32_t)pid,
			      .error_fd = pipe_fd[0],
			      .timeout_ns = cmd->timeout_ns,
			      .tag = cmd->facts & CMD_TAG ? cmd->tag : 0,
			      .cpu.limit_ns = cmd->cpu_time_ns,
			      .cpu.processors = cmd->processors};
	if (master >= 0) {
		struct wire_reply t = {.op = WIRE_TERMINAL, .id = q->id, .pid = (int32_t)pid};

		r = init_send(s, &t, (int)master);
		(void)raw_close((int)master);
	}
	return r < 0 ? r : 0;
}

static void handle_spawn(const struct init *s, const struct wire_request *q, const int *fds, int n)
{
	const struct cmd *cmd;
	struct cmd head;
	long at, r;
	int own = (int)(q->n_tasks + q->into);

	if (n < 1 || SYS4(SYS_pread64, fds[0], &head, sizeof(head), 0) != (long)sizeof(head) ||
	    head.magic != CMD_MAGIC || n != own + (head.facts & CMD_TTY ? 1 : 4)) {
		refuse(s, q->id, STEP_EXEC, -EPROTO_);
		return;
	}
	at = SYS6(SYS_mmap, 0, head.total_bytes, PROT_READ, MAP_PRIVATE, fds[0], 0);
	if (at < 0 && at > -4096) {
		refuse(s, q->id, STEP_EXEC, -ENOMEM_);
		return;
	}
	cmd = (const struct cmd *)at;
	r = spawn(s, q, cmd, fds + 1);
	if (r < 0)
		refuse(s, q->id, STEP_SESSION, r);
	(void)SYS2(SYS_munmap, at, head.total_bytes);
}

/* A restored process becomes a command. It stands at the gate still: it can't end meanwhile. */
static void adopt(const struct init *s, const struct wire_request *q)
{
	struct slot *slot = slot_new();
	uint64_t now = raw_now_ns();
	int master = q->group == 1 ? init_take_master() : -1;

	if (q->group == 1) {
		struct wire_reply t = {.op = WIRE_TERMINAL, .id = q->id, .pid = q->signo};

		/* also without one: a keeper waits for it before anybody can attach. One that does
		 * not take it is gone, and so are we soon */
		(void)init_send(s, &t, master);
	}
	if (master >= 0)
		(void)raw_close(master);

	if (!slot)
		return; /* the keeper asks for at most WIRE_MAX_COMMANDS */
	*slot = (struct slot){.state = SLOT_RUNNING,
			      .main = q->group == 1,
			      .id = q->id,
			      .pid = q->signo,
			      .error_fd = -1,
			      .exec_ns = now,
			      .timeout_ns = q->timeout_ns,
			      .deadline_ns = q->timeout_ns ? now + q->timeout_ns : 0,
			      .noted = true};
	cpu_pace_start(&slot->cpu, q->cpu_time_ns, q->processors, now);
}

/* Kills every process of the sandbox but us, stopped ones too. */
static void kill_all(void)
{
	(void)SYS2(SYS_kill, -1, SIGKILL_); /* ESRCH: there is none */
}

/* One request of the keeper. False at end of file: the keeper is gone. */
static bool take_request(const struct init *s)
{
	struct wire_request q = {0};
	struct slot *slot;
	int fd[WIRE_FD_MAX];
	long n = init_take(s, &q, fd, false);

	if (n == -EINTR_ || n == -EAGAIN_)
		return true;
	if (n < 0)
		return false;
	slot = slot_of_id(q.id);
	if (q.op == WIRE_SPAWN)
		handle_spawn(s, &q, fd, (int)n);
	else if (q.op == WIRE_ADOPT)
		adopt(s, &q);
	else if (q.op == WIRE_RESUME)
		init_resume();
	else if (q.op == WIRE_ASK && slot && !tree_is_ending(slot->pid))
		(void)init_send(s, &(struct wire_reply){.op = WIRE_ALIVE, .id = q.id}, -1);
	else if (q.op == WIRE_KILLALL)
		kill_all();
	else if (q.op == WIRE_SIGNAL && !q.id)
		(void)SYS2(SYS_kill, -1, q.signo); /* all of them */
	else if (q.op == WIRE_SIGNAL && slot)
		/* it may have gone a moment ago */
		(void)SYS2(SYS_kill, q.group ? -slot->pid : slot->pid, q.signo);
	while (n-- > 0)
		(void)raw_close(fd[n]);
	return true;
}

/* The error pipe of a starting command has something to say or has ended. */
static void take_note(const struct init *s, struct slot *slot)
{
	struct command_note note;
	long n = raw_read(slot->error_fd, &note, sizeof(note));

	if (n == -EAGAIN_ || n == -EINTR_)
		return;
	if (n == (long)sizeof(note) && note.fault.step == -1) {
		struct wire_reply r = {.op = WIRE_TRACE, .id = slot->id, .n_trace = note.n_trace};

		slot->exec_ns = note.exec_ns;
		slot->noted = true;
		memcpy(r.trace, note.trace, sizeof(r.trace));
		(void)init_send(s, &r, -1);
		return;
	}
	(void)raw_close(slot->error_fd);
	slot->error_fd = -1;
	if (n == (long)sizeof(note)) {
		refuse(s, slot->id, note.fault.step, note.fault.err);
		slot->state = SLOT_FREE;
		return;
	}
	slot->state = SLOT_RUNNING;
	if (!slot->noted) { /* killed before exec: EXITED tells by which signal */
		slot->exec_ns = raw_now_ns();
		return;
	}
	if (slot->timeout_ns)
		slot->deadline_ns = slot->exec_ns + slot->timeout_ns;
	cpu_pace_start(&slot->cpu, slot->cpu.limit_ns, slot->cpu.processors, slot->exec_ns);
	(void)init_send(
		s, &(struct wire_reply){.op = WIRE_STARTED, .id = slot->id, .pid = slot->pid}, -1);
}

struct statfs64 {
	int64_t type, bsize;
	uint64_t blocks, bfree, bavail, files, ffree;
	int64_t rest[8]; /* fsid, namelen, frsize, flags, spare: 120 bytes in all */
};

/* Reports the end of one command. */
static void exited(const struct init *s, struct slot *slot, int status, const struct rusage64 *u,
		   uint64_t now)
{
	struct wire_reply r = {
		.op = WIRE_EXITED, .id = slot->id, .pid = slot->pid, .status = status};

	r.usage.user_ns = timeval_ns(&u->user) + slot->orphans.user_ns;
	r.usage.system_ns = timeval_ns(&u->system) + slot->orphans.system_ns;
	r.usage.max_rss_bytes = (uint64_t)u->max_rss_kb * 1024;
	r.usage.wall_ns = now > slot->exec_ns ? now - slot->exec_ns : 0;
	r.usage.ended_ns = now;
	r.usage.csw_voluntary = (uint64_t)u->csw_voluntary;
	r.usage.csw_forced = (uint64_t)u->csw_forced;
	r.usage.disk_free_bytes = r.usage.disk_free_inodes = UINT64_MAX;
	if (slot->main) {
		struct statfs64 fs;

		if (SYS2(SYS_fstatfs, s->disk_fd, &fs) == 0) {
			r.usage.disk_free_bytes = fs.bfree * (uint64_t)fs.bsize;
			r.usage.disk_free_inodes = fs.ffree;
		}
	}
	slot->state = SLOT_FREE;
	(void)init_send(s, &r, -1);
}

/* The main command is gone: so is everything else, before anybody is told. */
static void end_of_main(const struct init *s, struct slot *slot, int status, uint64_t now)
{
	struct rusage64 all;
	int options = __WALL | WNOHANG;
	long pid;

	/* kill(-1) walks all processes of the host, so it is asked first whether anybody is left */
	while ((pid = SYS4(SYS_wait4, -1, 0, options, 0)) >= 0 || pid == -EINTR_)
		if (pid == 0) {
			kill_all();
			options = __WALL;
		}
	(void)SYS2(SYS_getrusage, -1 /* RUSAGE_CHILDREN */, &all);
	exited(s, slot, status, &all, now);
	if (s->plan->facts & PLAN_LINGER)
		init_linger(s);
	raw_exit(0);
}

static bool any_tagged(void)
{
	for (unsigned i = 0; i < n_slots; i++)
		if (slots[i].state != SLOT_FREE && slots[i].tag)
			return true;
	return false;
}

/* The next dead child without collecting it: then its tag can still be read. 0: none. */
static int32_t peek(void)
{
	struct {
		int32_t signo, code, error, pad;
		int32_t pid;
		int32_t rest[27];
	} info = {0};

	if (SYS5(SYS_waitid, 0 /* P_ALL */, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, 0) < 0)
		return 0;
	return info.pid;
}

/* Collects one dead child. Returns its pid, or what is not above 0. What an orphan used is charged
 * to the command that it came from. */
static long collect(int *status, struct rusage64 *usage)
{
	bool tagged = any_tagged();
	int32_t pid = tagged ? peek() : -1;
	uint64_t tag = tagged && pid > 0 ? tree_tag(pid) : 0;

	if (!pid)
		return 0;
	for (unsigned i = 0; i < n_slots && tag; i++)
		if (slots[i].state != SLOT_FREE && slots[i].tag == tag && slots[i].pid != pid) {
			long r = SYS4(SYS_wait4, pid, status, __WALL | WNOHANG, usage);

			slots[i].orphans.user_ns += timeval_ns(&usage->user);
			slots[i].orphans.system_ns += timeval_ns(&usage->system);
			return r;
		}
	return SYS4(SYS_wait4, pid, status, __WALL | WNOHANG, usage);
}

static void reap(const struct init *s)
{
	struct rusage64 usage;
	int status;
	long pid;

	while ((pid = collect(&status, &usage)) > 0) {
		struct slot *slot = slot_of_pid((int32_t)pid);
		uint64_t now = raw_now_ns();

		if (!slot)
			continue;
		while (slot->state == SLOT_STARTING && slot->error_fd >= 0)
			take_note(s, slot);
		if (slot->state == SLOT_FREE)
			continue; /* exec failed: the keeper knows */
		if (slot->main)
			end_of_main(s, slot, status, now);
		if (slot->tag)
			tree_kill(slot->tag, &slot->orphans);
		exited(s, slot, status, &usage, now);
	}
}

/* A limit of the command is reached: tells which, and kills. */
static void strike(const struct init *s, struct slot *t, uint32_t op)
{
	t->deadline_ns = t->cpu.at = 0;
	(void)init_send(s, &(struct wire_reply){.op = op, .id = t->id}, -1);
	if (t->main)
		kill_all();
	else
		(void)SYS2(SYS_kill, -t->pid, SIGKILL_); /* ESRCH: gone */
	/* whatever has left that group is killed when the command is reaped, or by its cgroup */
}

static uint64_t used_ns(const struct slot *t)
{
	return tree_cpu_ns(t->tag) + t->orphans.user_ns + t->orphans.system_ns;
}

static void earliest(uint64_t *next, uint64_t at)
{
	if (at && (!*next || at < *next))
		*next = at;
}

/* Strikes what is due; returns when the next limit has to be looked at, 0 when there is none. */
static uint64_t strike_limits(const struct init *s)
{
	uint64_t next = 0, now = raw_now_ns();

	for (unsigned i = 0; i < n_slots; i++) {
		struct slot *t = &slots[i];

		if (t->state != SLOT_RUNNING)
			continue;
		if (t->deadline_ns && now >= t->deadline_ns)
			strike(s, t, WIRE_TIMEOUT);
		if (t->cpu.at && now >= t->cpu.at && cpu_pace_look(&t->cpu, used_ns(t), now))
			strike(s, t, WIRE_CPU_OVER);
		earliest(&next, t->deadline_ns);
		earliest(&next, t->cpu.at);
	}
	return next;
}

static void drain_signals(void)
{
	char info[128];

	while (raw_read(signal_fd, info, sizeof(info)) > 0)
		;
}

static bool open_signal_fd(void)
{
	uint64_t mask = UINT64_C(1) << (SIGCHLD_ - 1);
	long fd;

	if (SYS4(SYS_rt_sigprocmask, 2, &mask, 0, sizeof(mask)) < 0)
		return false;
	fd = SYS4(SYS_signalfd4, -1, &mask, sizeof(mask), O_CLOEXEC | O_NONBLOCK);
	signal_fd = (int)fd;
	return fd >= 0;
}

void init_serve(struct init *s)
{
	static struct pollfd polled[2 + WIRE_MAX_COMMANDS];
	static uint16_t slot_at[2 + WIRE_MAX_COMMANDS];

	if (!open_signal_fd())
		return;
	for (;;) {
		uint64_t at = strike_limits(s), now = at ? raw_now_ns() : 0;
		uint64_t wait_ns = at > now ? at - now : 1;
		struct raw_timespec t = {(int64_t)(wait_ns / 1000000000u),
					 (int64_t)(wait_ns % 1000000000u)};
		unsigned n = 2;
		long r;

		polled[0] = (struct pollfd){s->sock_fd, POLLIN, 0};
		polled[1] = (struct pollfd){signal_fd, POLLIN, 0};
		for (unsigned i = 0; i < n_slots; i++)
			if (slots[i].state == SLOT_STARTING && slots[i].error_fd >= 0) {
				slot_at[n] = (uint16_t)i;
				polled[n++] = (struct pollfd){slots[i].error_fd, POLLIN, 0};
			}
		r = SYS5(SYS_ppoll, polled, n, at ? &t : 0, 0, 0);
		if (r == -EINTR_)
			continue;
		if (r < 0)
			return;
		for (unsigned i = 2; i < n; i++)
			if (polled[i].revents && slots[slot_at[i]].state == SLOT_STARTING)
				take_note(s, &slots[slot_at[i]]);
		if (polled[1].revents) {
			drain_signals();
			reap(s);
		}
		if (polled[0].revents && !take_request(s))
			return;
	}
}
