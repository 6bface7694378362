/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a one-shot sandbox: launch, one command, relay, limits, end.
 *
 * One loop over poll: init's socket, signals, memory events, and the relays of the three streams.
 * init strikes the deadline; the keeper's own timer stands behind it, should init be unable to.
 */
#include "engine/run.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "engine/deadline.h"
#include "engine/host.h"
#include "engine/out.h"
#include "engine/run_internal.h"
#include "engine/tty.h"
#include "raw/syscall.h"

#define MAIN_ID 1
#define N_POLL (3 + RELAY_POLL)

static const int forwarded[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
				SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};

static int open_signals(struct run *r)
{
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		sigaddset(&mask, forwarded[i]);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	r->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->signal_fd < 0 ? -errno : 0;
}

static void forward_signal(struct run *r, int signo)
{
	/* what a terminal would send to a foreground group goes to the command's group */
	bool group = signo == SIGINT || signo == SIGQUIT || signo == SIGTSTP || signo == SIGCONT ||
		     signo == SIGHUP;

	if (signo == SIGWINCH) {
		if (r->master_fd >= 0)
			tty_copy_size(STDIN_FILENO, r->master_fd);
		return;
	}
	if (signo == SIGTSTP) {
		/* the group inside is orphaned: TSTP would be dropped, STOP is not */
		box_signal(&r->box, MAIN_ID, SIGSTOP, true);
		raise(SIGSTOP);
		return;
	}
	box_signal(&r->box, MAIN_ID, signo, group);
}

static void take_signals(struct run *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		forward_signal(r, (int)info.ssi_signo);
}

/* Fails the run; whatever lives is killed by the caller. */
static void fail(struct run *r)
{
	r->result->status = RESULT_SETUP_ERROR;
	r->ended = true;
}

/* The clock of init is the first wall, ours the second. */
static bool has_deadline(const struct run *r)
{
	return r->spec->limits.timeout_ns != SPEC_UNSET &&
	       !raw_without(r->plan.plan->test_without, "limit", "clock");
}

static uint64_t kill_ns(const struct run *r)
{
	return spec_kill_ns(&r->spec->limits, r->spec->limits.timeout_ns);
}

static void take_reply(struct run *r, const struct wire_reply *m, int fd)
{
	struct err *e = &r->result->error;

	switch (m->op) {
	case WIRE_TERMINAL:
		if (fd >= 0 && r->master_fd < 0 && r->spec->command.tty) {
			run_open_terminal(r, fd);
			return; /* keeps fd */
		}
		break;
	case WIRE_TRACE:
		box_trace(m, r->result);
		break;
	case WIRE_STARTED:
		if (r->end.started)
			break; /* told once more, it would set the clocks back */
		r->end.started = true;
		box_unpin(&r->box);
		if (has_deadline(r))
			r->deadline_ns = raw_now_ns() + kill_ns(r) + DEADLINE_BACKUP_NS;
		cpu_watch_start(&r->cpu, &r->box.cgroup,
				spec_kill_ns(&r->spec->limits, r->spec->limits.cpu_time_ns),
				r->host.processors);
		break;
	case WIRE_ALIVE:
		run_release_peers(r);
		break;
	case WIRE_REFUSED:
		box_fault(r->plan.plan, r->cmd, &m->fault, e);
		fail(r);
		break;
	case WIRE_TIMEOUT:
		r->end.timed_out = true;
		break;
	case WIRE_CPU_OVER:
		r->end.cpu_over = true;
		break;
	case WIRE_EXITED:
		r->end.wait_status = m->status;
		r->end.usage = m->usage;
		r->end.started = true;
		r->ended = true;
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void take_init(struct run *r)
{
	struct wire_reply m;
	int fd, n = box_receive(&r->box, &m, &fd);

	if (n > 0) {
		take_reply(r, &m, fd);
		return;
	}
	if (n == -EAGAIN)
		return;
	r->init_gone = true;
	if (!r->ended && !r->end.timed_out && !r->end.oom_killed && !ending_output_over(&r->end) &&
	    !r->end.cpu_over)
		err_set(&r->result->error, n == -EPROTO ? ERR_PROTOCOL : ERR_LAUNCH, n,
			"init died before the command ended");
	r->ended = true;
}

/* Ends it now: init kills what lives and tells; should it not, the socket's end tells. */
static void kill_inside(struct run *r)
{
	box_kill_all(&r->box);
	if (r->box.cgroup.dir_n)
		SYS4(SYS_pidfd_send_signal, r->box.pidfd, SIGCONT, 0, 0);
}

static void take_oom(struct run *r)
{
	uint64_t kills = cgroup_oom_take(&r->oom);

	if (kills == CGROUP_UNKNOWN || kills == 0)
		return;
	if (!r->end.oom_killed)
		kill_inside(r);
	r->end.oom_killed = true;
}

static int poll_timeout(const struct run *r)
{
	uint64_t now = raw_now_ns(), at = r->deadline_ns;

	if (r->cpu.pace.at && (!at || r->cpu.pace.at < at))
		at = r->cpu.pace.at;
	if (!at)
		return -1;
	if (now >= at)
		return 0;
	return (at - now) / 1000000 >= INT_MAX ? INT_MAX : (int)((at - now) / 1000000 + 1);
}

static void check_limits(struct run *r)
{
	if (ending_output_over(&r->end) && !r->ended)
		kill_inside(r);
	/* An init that says so and goes on is not ours any more: what it holds open ends, and what
	 * it told stays. With --out it stays until all is copied. */
	if (r->deadline_ns && raw_now_ns() >= r->deadline_ns) {
		/* init had its chance: everything inside dies with it */
		r->end.timed_out |= !r->ended;
		r->deadline_ns = 0;
		if (!r->ended || !(r->plan.plan->facts & PLAN_LINGER))
			SYS4(SYS_pidfd_send_signal, r->box.pidfd, SIGKILL, 0, 0);
	}
	if (cpu_watch_over(&r->cpu, raw_now_ns())) {
		r->end.cpu_over |= !r->ended;
		kill_inside(r);
	}
	for (int i = 1; i < 3; i++)
		if (r->relay[i].error && !r->result->error.id) {
			err_set(&r->result->error, ERR_OUTPUT, r->relay[i].error, "write to %s",
				i == 1 ? "stdout" : "stderr");
			kill_inside(r);
		}
}

static bool output_is_drained(const struct run *r)
{
	return relay_finished(&r->relay[1]) && relay_finished(&r->relay[2]);
}

/* Until the command has ended and all that it wrote has been passed on. */
static void loop(struct run *r)
{
	while (!(r->ended && output_is_drained(r))) {
		struct pollfd p[N_POLL], *streams;
		int at[3], n = 0, sock_at = -1, oom_at = -1, signal_at;

		/* nobody will read it; who writes to us (the other one of a pair) may know */
		if (r->ended)
			relay_end(&r->relay[0]);
		/* here, since what was answered may be an older question than the last end of a
		 * stream */
		run_ask_peers(r);
		signal_at = n;
		p[n++] = (struct pollfd){r->signal_fd, POLLIN, 0};
		if (!r->init_gone) {
			sock_at = n;
			p[n++] = (struct pollfd){r->box.sock_fd, POLLIN, 0};
		}
		if (r->oom.fd >= 0) {
			oom_at = n;
			p[n++] = (struct pollfd){r->oom.fd, (short)r->oom.events, 0};
		}
		streams = p + n;
		n += relay_poll_command(r->relay, !r->ended, streams, at);
		if (poll(p, (nfds_t)n, poll_timeout(r)) < 0 && errno != EINTR) {
			err_set(&r->result->error, ERR_HOST, errno, "wait for the command");
			break;
		}
		if (p[signal_at].revents)
			take_signals(r);
		relay_move_command(r->relay, streams, at);
		if (oom_at >= 0 && p[oom_at].revents)
			take_oom(r);
		if (sock_at >= 0 && p[sock_at].revents)
			take_init(r);
		check_limits(r);
	}
}

static int prepare(struct run *r)
{
	const struct spec_limits *l = &r->spec->limits;
	struct err *e = &r->result->error;
	uint32_t want =
		(l->memory_bytes != SPEC_UNSET ? CGROUP_BIT(CGROUP_MEMORY) : 0) |
		(l->pids != SPEC_UNSET ? CGROUP_BIT(CGROUP_PIDS) : 0) |
		(l->cpus_milli != SPEC_UNSET ? CGROUP_BIT(CGROUP_CPU) : 0) |
		(r->spec->cpuset ? CGROUP_BIT(CGROUP_CPUSET) : 0) |
		(l->io_bytes != SPEC_UNSET ? CGROUP_BIT(CGROUP_IO) | CGROUP_BIT(CGROUP_MEMORY)
					   : 0) |
		(l->cpu_time_ns != SPEC_UNSET ? CGROUP_BIT(CGROUP_CPUACCT) : 0);
	int rc;

	/* where there is a cgroup anyway, it tells the processor time of the whole tree */
	want |= want ? CGROUP_BIT(CGROUP_CPUACCT) : 0;
	rc = host_facts(&r->host, &r->cgroups, want, e);
	if (rc == 0)
		rc = host_ids(&r->host, r->spec, e);
	if (rc < 0)
		return rc;
	if (l->cpu_time_ns != SPEC_UNSET)
		r->host.processors = host_processors();
	rc = plan_make(r->spec, &r->host, &r->plan, r->result, e);
	if (rc < 0)
		return rc;
	if (!r->spec->command.argv.n)
		return err_set(e, ERR_USAGE, 0, "there is no command to run");
	r->cmd = plan_command(r->spec, &r->spec->command, &r->host, true, e);
	if (!r->cmd)
		return -ENOMEM;
	tty_size(STDIN_FILENO, &r->cmd->rows, &r->cmd->cols);
	host_random_hex(r->journal.id, 6);
	r->output_budget = l->output_bytes;
	rc = open_signals(r);
	return rc < 0 ? err_set(e, ERR_HOST, rc, "receive signals") : 0;
}

/* While init builds the layers: all that the command needs from us. */
static int hand_command(void *arg, struct err *e)
{
	struct run *r = arg;
	int rc = 0;

	if (r->plan.plan->facts & PLAN_MEMORY)
		rc = cgroup_oom_open(&r->box.cgroup, &r->oom, e);
	if (rc < 0)
		return rc;
	rc = run_open_stdio(r);
	if (rc < 0)
		return err_set(e, ERR_HOST, rc, "make the pipes of the command");
	rc = box_spawn(&r->box, MAIN_ID, r->cmd, r->stdio_fd, NULL, e);
	for (int i = 0; i < 3; i++)
		close_fd(&r->stdio_fd[i]);
	/* from the start of the command on it is counted anew; an init that is stopped tells none
	 */
	if (rc == 0 && has_deadline(r))
		r->deadline_ns = raw_now_ns() + kill_ns(r) + DEADLINE_EXEC_NS;
	return rc;
}

static int start(struct run *r)
{
	struct box_request q = {.plan = &r->plan,
				.spec = r->spec,
				.cgroups = &r->cgroups,
				.id = r->journal.id,
				.slot_fd = -EBADF,
				.journal = {journal_note, &r->journal},
				.ahead = hand_command,
				.ahead_arg = r};

	r->plan.plan->facts |= PLAN_AHEAD;
	return box_launch(&q, &r->box, r->result, &r->result->error);
}

static void take_out(struct run *r)
{
	bool stands = r->end.started && !r->init_gone;
	const struct plan *p = r->plan.plan;

	out_copy(r->spec, stands ? r->box.root_fd : -EBADF,
		 r->host.root ? r->box.id_base + p->uid : r->host.uid,
		 r->host.root ? r->box.id_base + p->gid : r->host.gid, r->result);
}

void run_command(const struct spec *spec, struct result *result)
{
	struct run r = {.spec = spec,
			.result = result,
			.end = {.main = true},
			.box = BOX_INIT,
			.journal = JOURNAL_INIT,
			.oom = {.fd = -EBADF, .memory_fd = -EBADF},
			.signal_fd = -EBADF,
			.master_fd = -EBADF,
			.stdio_fd = {-EBADF, -EBADF, -EBADF},
			.relay = {{.in_fd = -1, .out_fd = -1},
				  {.in_fd = -1, .out_fd = -1},
				  {.in_fd = -1, .out_fd = -1}}};
	struct err late = ERR_INIT;

	sigpipe_hold(&r.sigpipe);
	if (prepare(&r) == 0 && start(&r) == 0) {
		loop(&r);
		take_out(&r);
		settle_figures(result, &r.box.cgroup, &r.end);
		settle_result(result, &r.end);
		if (result->status == RESULT_SETUP_ERROR)
			settle_hint(&result->error, spec->command.argv.v[0]);
	}
	tty_restore();
	for (int i = 0; i < 3; i++) {
		relay_end(&r.relay[i]);
		close_fd(&r.stdio_fd[i]);
	}
	close_fd(&r.master_fd);
	if (r.oom.fd >= 0)
		cgroup_oom_close(&r.oom);
	if (box_end(&r.box, &late) == 0)
		journal_close(&r.journal);
	close_fd(&r.journal.file_fd);
	close_fd(&r.journal.dir_fd);
	close_fd(&r.signal_fd);
	sigpipe_release(&r.sigpipe);
	plan_free(&r.plan);
	free(r.cmd);
	result_settle(result);
}
