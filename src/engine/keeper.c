/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's life: launch, loop, end; and the actions of the state table. */
#include "engine/keeper.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/clone.h"
#include "engine/deadline.h"
#include "engine/exec_group.h"
#include "engine/host.h"
#include "fork/carriers.h"
#include "raw/syscall.h"

#define SPEC_MAX (8u << 20)
#define HOLD_NS UINT64_C(30000000000)

/* ---- what the loop watches ---- */

static void init_ready(struct keeper *k, struct source *s, uint32_t events)
{
	struct wire_reply m;
	int fd, r = box_receive(&k->box, &m, &fd);

	(void)events;
	(void)s;
	if (r > 0)
		keeper_take_reply(k, &m, &fd);
	if (fd >= 0)
		close(fd);
	if (r > 0 || r == -EAGAIN)
		return;
	k->init_gone = true;
	if (k->state == STATE_STARTING && !k->failure.id)
		err_set(&k->failure, ERR_LAUNCH, ECHILD, "init died before the command ran");
}

static void signals_ready(struct keeper *k, struct source *s, uint32_t events)
{
	struct signalfd_siginfo info;
	struct err ignored = ERR_INIT;

	(void)events;
	while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			ignore_err(keeper_event(k, EVENT_KILL, &ignored),
				   "it may be ending already");
}

static void oom_ready(struct keeper *k, struct source *s, uint32_t events)
{
	/* ours first: a kill of theirs between the two looks brings us here once more */
	uint64_t kills = cgroup_oom_take(&k->oom), theirs = exec_group_oom_kills(k);
	struct err ignored = ERR_INIT;

	(void)s;
	(void)events;
	if (kills == CGROUP_UNKNOWN)
		return;
	kills -= kills < theirs ? kills : theirs;
	if (kills <= k->oom_seen)
		return;
	k->oom_seen = kills;
	ignore_err(keeper_publish(k, &ignored), "inspect tells an older count; stats is asked");
	keeper_publish_event(k, "oom", json_pack("{s:I}", "oom_kills", (json_int_t)kills));
	if (k->spec.oom_group) {
		k->commands[0].end.oom_killed = true;
		ignore_err(keeper_event(k, EVENT_KILL, &ignored), "it may be ending already");
	}
}

/* ---- start ---- */

static int read_spec(int fd, struct spec *ret, struct err *e)
{
	struct stat st;
	AUTO_FREE char *text = NULL;

	if (fstat(fd, &st) < 0 || st.st_size > SPEC_MAX ||
	    !(text = malloc((size_t)st.st_size + 1)) ||
	    pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
		return err_set(e, ERR_SPEC, EIO, "read the spec");
	return spec_decode(text, (size_t)st.st_size, ret, e);
}

static int open_loop(struct keeper *k, struct err *e)
{
	sigset_t mask;

	k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sigfillset(&mask);
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGABRT);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGFPE);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	k->signals =
		(struct source){signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK), signals_ready};
	if (k->epoll_fd < 0 || k->signals.fd < 0)
		return err_set(e, ERR_HOST, errno, "make the keeper's loop");
	return keeper_watch(k, &k->signals, EPOLLIN, e);
}

static int claim(struct keeper *k, struct err *e)
{
	AUTO_FREE char *text = spec_encode(&k->spec);
	int r = journal_open(&k->journal, e);

	if (r == 0 && k->spec.name)
		r = registry_claim(k->spec.name, k->journal.id, e);
	if (r < 0) {
		/* the name is somebody else's: forget must not free it */
		free(k->spec.name);
		k->spec.name = NULL;
		return r;
	}
	return text ? registry_write(k->journal.dir_fd, "spec.json", text, e)
		    : err_set(e, ERR_INTERNAL, ENOMEM, "keep the spec");
}

int keeper_plan(struct keeper *k, uint64_t facts, struct err *e)
{
	uint32_t usable = cgroup_usable(&k->cgroups);
	struct result *report = &k->commands[0].result;
	int r;

	if (k->spec.limits.cpu_time_ns != SPEC_UNSET)
		k->host.processors = host_processors();
	r = plan_make(&k->spec, &k->host, &k->plan, report, e);
	if (r < 0)
		return r;
	k->plan.plan->facts |= facts;
	if (usable) {
		/* a freezer of v2 is in use wherever there is one */
		k->plan.plan->facts &= ~(uint64_t)PLAN_CGROUP_BESIDE;
		k->plan.plan->facts |= PLAN_CGROUP;
	}
	if (usable & CGROUP_BIT(CGROUP_FREEZER))
		report->layers[LAYER_FREEZER] =
			(struct result_layer){.state = LAYER_ON, .how = "cgroup"};
	return 0;
}

int keeper_launch(struct keeper *k, const struct box_restore *restore, int slot_fd,
		  uint32_t id_base, struct err *e)
{
	struct box_request q = {.plan = &k->plan,
				.spec = &k->spec,
				.cgroups = &k->cgroups,
				.id = k->journal.id,
				.extra_cgroups = cgroup_usable(&k->cgroups) & CGROUP_ALL,
				.slot_fd = slot_fd,
				.id_base = id_base,
				.journal = {journal_note, &k->journal},
				.restore = restore};
	int r = box_launch(&q, &k->box, &k->commands[0].result, e);

	if (r < 0)
		return r;
	k->init = (struct source){k->box.sock_fd, init_ready};
	fcntl(k->box.sock_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	r = keeper_watch(k, &k->init, EPOLLIN, e);
	if (r == 0 && k->plan.plan->facts & PLAN_MEMORY) {
		r = cgroup_oom_open(&k->box.cgroup, &k->oom, e);
		k->oom_source = (struct source){k->oom.fd, oom_ready};
		if (r == 0)
			r = keeper_watch(k, &k->oom_source, k->oom.events, e);
	}
	return r;
}

int keeper_spawn_main(struct keeper *k, const int fds[3], struct err *e)
{
	struct command_state *c = &k->commands[0];

	if (!c->cmd)
		c->cmd = plan_command(&k->spec, &k->spec.command, &k->host, true, e);
	return c->cmd ? box_spawn(&k->box, MAIN_ID, c->cmd, fds, NULL, e) : -ENOMEM;
}

/* From the start of the command on it is counted anew; an init that is stopped tells none. */
void keeper_await_start(struct keeper *k)
{
	if (k->spec.limits.timeout_ns != SPEC_UNSET)
		k->deadline_at = raw_now_ns() + DEADLINE_EXEC_NS +
				 spec_kill_ns(&k->spec.limits, k->spec.limits.timeout_ns);
}

static int start_main(struct keeper *k, struct err *e)
{
	int fds[3] = {-EBADF, -EBADF, -EBADF}, r = keeper_main_stdio(k, fds, e);

	if (r == 0)
		r = keeper_spawn_main(k, fds, e);
	for (int i = 0; i < 3; i++)
		close_fd(&fds[i]);
	if (r == 0)
		keeper_await_start(k);
	return r;
}

static int start_fresh(struct keeper *k, struct err *e)
{
	int r = keeper_plan(k, 0, e);

	if (r == 0)
		r = keeper_launch(k, NULL, -EBADF, 0, e);
	if (r == 0)
		r = keeper_listen(k, e);
	if (r == 0 && k->held) {
		k->kill_at = raw_now_ns() + HOLD_NS;
		keeper_tell_starter(k, NULL);
		return 0;
	}
	if (r == 0 && k->has_main)
		return start_main(k, e);
	box_unpin(&k->box);
	if (r == 0)
		r = keeper_event(k, EVENT_READY, e);
	if (r == 0)
		keeper_tell_starter(k, NULL);
	return r;
}

/* Says that the tree stands, then waits for the word: all clones of a fork go on, or none. */
static int start_clone(struct keeper *k, const struct clone_parts *parts, struct err *e)
{
	int r = clone_launch(k, parts, e), fd;
	char word;

	if (r == 0)
		r = keeper_listen(k, e);
	if (r < 0)
		return r;
	k->times.parked_at = raw_now_ns();
	fd = fcntl(k->report_fd, F_DUPFD_CLOEXEC, 3);
	keeper_tell_starter(k, NULL);
	if (read(parts->gate_fd, &word, 1) != 1)
		r = err_set(e, ERR_STATE, ECANCELED,
			    "another clone of this fork could not be made");
	k->report_fd = fd;
	close(parts->gate_fd);
	if (r == 0)
		r = clone_go(k, parts, e);
	k->times.gone_at = raw_now_ns();
	if (r == 0)
		r = keeper_event(k, EVENT_READY, e);
	if (r == 0)
		keeper_tell_starter(k, NULL);
	return r;
}

static int start(struct keeper *k, const struct clone_parts *parts, struct err *e)
{
	uint32_t want = CGROUP_ALL | (k->spec.cpuset ? CGROUP_BIT(CGROUP_CPUSET) : 0) |
			(k->spec.limits.io_bytes != SPEC_UNSET ? CGROUP_BIT(CGROUP_IO) : 0);
	int r = open_loop(k, e);

	if (r == 0 && !parts)
		r = host_facts(&k->host, &k->cgroups, want, e);
	if (r == 0)
		r = host_ids(&k->host, &k->spec, e);
	if (r == 0)
		r = claim(k, e);
	if (r < 0)
		return r;
	output_open(&k->log, k->journal.dir_fd);
	return parts ? start_clone(k, parts, e) : start_fresh(k, e);
}

/* ---- loop ---- */

static void earliest(uint64_t *at, uint64_t candidate)
{
	if (candidate && (!*at || candidate < *at))
		*at = candidate;
}

static bool runs_an_exec(const struct keeper *k)
{
	for (size_t i = 1; i < KEEPER_COMMANDS; i++)
		if (k->commands[i].used)
			return true;
	return false;
}

static int wait_ms(struct keeper *k)
{
	uint64_t at = 0, now = raw_now_ns();

	if (k->spec.idle_timeout_ns != SPEC_UNSET) {
		if (runs_an_exec(k))
			k->idle_at = 0;
		else if (!k->idle_at)
			k->idle_at = now + k->spec.idle_timeout_ns;
	}
	earliest(&at, k->ttl_at);
	earliest(&at, k->kill_at);
	earliest(&at, k->deadline_at);
	earliest(&at, k->idle_at);
	earliest(&at, k->cpu.pace.at);
	earliest(&at, exec_group_strike(k));
	if (!at)
		return -1;
	if (at <= now)
		return 0;
	return (at - now) / 1000000 >= INT_MAX ? INT_MAX : (int)((at - now) / 1000000 + 1);
}

void keeper_strike(struct keeper *k)
{
	/* init tells how the main command ended; should it not, we end everything */
	box_kill_all(&k->box);
	k->kill_at = raw_now_ns() + DEADLINE_BACKUP_NS;
}

static void strike(struct keeper *k)
{
	struct err ignored = ERR_INIT;
	uint64_t now = raw_now_ns();
	bool due = (k->ttl_at && now >= k->ttl_at) || (k->kill_at && now >= k->kill_at) ||
		   (k->idle_at && now >= k->idle_at);

	if (k->deadline_at && now >= k->deadline_at) {
		/* what has ended in time has; what it left behind goes */
		k->commands[0].end.timed_out |= !k->main_over;
		due = true;
	}
	if (cpu_watch_over(&k->cpu, now)) {
		k->commands[0].end.cpu_over = true;
		keeper_strike(k);
	}
	if (!due)
		return;
	k->ttl_at = k->kill_at = k->deadline_at = k->idle_at = 0;
	ignore_err(keeper_event(k, EVENT_KILL, &ignored), "it may be ending already");
}

static bool is_over(const struct keeper *k)
{
	if (k->init_gone)
		return keeper_output_drained(k);
	/* the main command is over: init ends by itself and its socket tells */
	return false;
}

static void loop(struct keeper *k)
{
	while (!is_over(k)) {
		struct epoll_event ev[16];
		int n = epoll_wait(k->epoll_fd, ev, 16, wait_ms(k));

		for (int i = 0; i < n; i++) {
			struct source *s = ev[i].data.ptr;

			if (s->fd >= 0)
				s->ready(k, s, ev[i].events);
		}
		if (k->init_gone)
			keeper_unwatch(k, &k->init), k->box.sock_fd = -EBADF;
		/* exec of the main command failed: nothing holds init */
		if (k->main_over && k->failure.id && k->box.pidfd >= 0)
			SYS4(SYS_pidfd_send_signal, k->box.pidfd, SIGKILL, 0, 0);
		strike(k);
	}
}

static void tell_waiters(struct keeper *k)
{
	json_t *result = result_json(&k->commands[0].result);

	for (size_t i = 0; i < KEEPER_CONNS; i++) {
		struct conn *c = &k->conns[i];

		if (c->source.fd < 0)
			continue;
		c->bound = false;
		if (c->wait_id)
			keeper_answer(k, c, c->wait_id, json_incref(result), NULL, 0);
		if (c->source.fd >= 0)
			keeper_conn_close(k, c);
	}
	json_decref(result);
}

void keeper_daemonise(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	ignore_err(chdir("/"), "the root exists");
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	close_fd(&null);
	umask(077);
	prctl(PR_SET_NAME, "cleave-keeper", 0, 0, 0);
}

static struct keeper *keeper_new(int report_fd)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->state = STATE_STARTING;
	k->box = BOX_INIT;
	k->journal = JOURNAL_INIT;
	k->oom.fd = k->oom.memory_fd = -EBADF;
	k->epoll_fd = k->main_in_fd = k->master_fd = -EBADF;
	k->init.fd = k->signals.fd = k->listener.fd = k->oom_source.fd = k->tracer.fd = -EBADF;
	k->output[0].fd = k->output[1].fd = -EBADF;
	for (size_t i = 0; i < KEEPER_CONNS; i++)
		k->conns[i] = (struct conn){.source = {.fd = -EBADF}, .out_fd = {-EBADF, -EBADF}};
	k->next_id = MAIN_ID + 1;
	k->report_fd = report_fd;
	k->created_ns = keeper_clock_ns();
	k->commands[0] = (struct command_state){.used = true, .id = MAIN_ID, .end = {.main = true}};
	result_init(&k->commands[0].result);
	host_random_hex(k->journal.id, 6);
	return k;
}

static int live(struct keeper *k, const struct clone_parts *parts, int r, struct err *e)
{
	struct err late = ERR_INIT;

	k->has_main = k->spec.command.argv.n > 0;
	if (r == 0)
		r = start(k, parts, e);
	/* its sandbox stands; no client was read yet */
	if (r == 0)
		r = keeper_confine(e);
	if (r == 0) {
		loop(k);
		*e = k->failure;
	}
	if (k->journal.dir_fd >= 0) {
		ignore_err(keeper_event(k, EVENT_ENDED, &late), "gc removes what could not be");
		clone_abandon(k);
		output_close(&k->log);
		if (e->id || k->spec.remove)
			ignore_err(registry_forget(k->journal.id, &late), "gc removes it");
		tell_waiters(k);
	}
	keeper_tell_starter(k, e);
	return e->id ? 125 : 0;
}

int keeper_main(int spec_fd, int report_fd, bool hold)
{
	struct keeper *k = keeper_new(report_fd);
	struct err e = ERR_INIT;
	int r;

	if (!k)
		return 125;
	r = read_spec(spec_fd, &k->spec, &e);
	close(spec_fd);
	keeper_daemonise();
	k->held = hold && k->spec.command.argv.n > 0;
	return live(k, NULL, r, &e);
}

int keeper_clone_main(const struct clone_parts *parts, int report_fd)
{
	const char *keep_id = json_string_value(json_object_get(parts->meta, "keep_id"));
	struct keeper *k = keeper_new(report_fd);
	struct err e = ERR_INIT;

	if (!k)
		return 125;
	k->times.born_at = raw_now_ns();
	setsid();
	prctl(PR_SET_NAME, "cleave-keeper", 0, 0, 0);
	k->spec = *parts->spec; /* ours alone in this process */
	k->host = *parts->host;
	if (!carrier_off(CARRIER_IDENTITY))
		host_random_hex(k->host.machine_id, 16);
	k->cgroups = *parts->cgroups;
	k->index = parts->index;
	if (keep_id)
		snprintf(k->journal.id, sizeof(k->journal.id), "%s", keep_id);
	return live(k, parts, 0, &e);
}
