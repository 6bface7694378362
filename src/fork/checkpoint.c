/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks harvest.def. Every capture, whether it worked or not, ends with the undo functions of the
 * rows that were reached: there is one way out.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/arch/hosted.h"
#include "fork/carriers.h"
#include "fork/harvest.h"

_Static_assert(sizeof(struct image_header) <= IMAGE_PAGE, "the header is one page");

int note_add(struct fork_notes *n, const char *fmt, ...)
{
	char **v = realloc(n->line, (n->n + 1) * sizeof(*v));
	va_list ap;
	int r;

	if (!v)
		return -ENOMEM;
	n->line = v;
	va_start(ap, fmt);
	r = vasprintf(&v[n->n], fmt, ap);
	va_end(ap);
	if (r < 0)
		return -ENOMEM;
	n->n++;
	return 0;
}

int fork_host(struct image_host *ret, struct err *e)
{
	struct utsname u;
	int r = arch_xstate_probe(&ret->xstate_features, &ret->xstate_bytes);

	if (r < 0)
		return err_set(e, ERR_HOST, -r, "learn the processor's signal frame");
	uname(&u);
	snprintf(ret->release, sizeof(ret->release), "%s", u.release);
	snprintf(ret->version, sizeof(ret->version), "%s", u.version);
	snprintf(ret->machine, sizeof(ret->machine), "%.23s", u.machine);
	return 0;
}

static int row_before(struct harvest *h, struct err *e)
{
	(void)e; /* what is not copied now is copied at the freeze */
	if (h->src->before_freeze)
		h->src->before_freeze(h->src->arg);
	return 0;
}

static int undo_before(struct harvest *h, struct err *e)
{
	(void)e;
	if (h->src->after_freeze)
		h->src->after_freeze(h->src->arg);
	return 0;
}

static int row_at_freeze(struct harvest *h, struct err *e)
{
	if (carrier_off(CARRIER_FILES_MOMENT) && h->seized)
		return 0; /* taken before FREEZE */
	return h->src->at_freeze ? h->src->at_freeze(h->src->arg, e) : 0;
}

/* A convenience: a failure costs time, nothing else. */
static int row_pin(struct harvest *h, struct err *e)
{
	struct proc_stat stat;
	cpu_set_t set;
	char name[48];
	long child;

	if (carrier_off(CARRIER_FILES_MOMENT) && row_at_freeze(h, e) < 0)
		return -EIO;
	if (sched_getaffinity(0, sizeof(h->cpus), &h->cpus))
		CPU_ZERO(&h->cpus);
	snprintf(name, sizeof(name), "task/%d/children", h->src->init_pid);
	if (proc_read(&h->text, h->src->init_pid, name) ||
	    (child = strtol(h->text.p, NULL, 10)) <= 0 ||
	    proc_read(&h->text, (pid_t)child, "stat") || proc_stat_parse(h->text.p, &stat))
		return 0;
	CPU_ZERO(&set);
	CPU_SET(stat.field[39] % CPU_SETSIZE, &set);
	ignore_err(sched_setaffinity(0, sizeof(set), &set), "slower, not wrong");
	return 0;
}

/* The next attempt asks again what this process may run on. */
static int undo_pin(struct harvest *h, struct err *e)
{
	(void)e;
	if (CPU_COUNT(&h->cpus))
		ignore_err(sched_setaffinity(0, sizeof(h->cpus), &h->cpus), "slower, not wrong");
	return 0;
}

static int undo_none(struct harvest *h, struct err *e)
{
	(void)h;
	(void)e;
	return 0;
}

/* A source that was paused before is frozen again before anybody is let go. */
static int undo_thaw(struct harvest *h, struct err *e)
{
	return h->src->paused ? row_freeze(h, e) : 0;
}

static int undo_freeze(struct harvest *h, struct err *e)
{
	return h->src->paused ? 0 : row_thaw(h, e);
}

static const struct {
	const char *name;
	int (*run)(struct harvest *h, struct err *e);
	int (*undo)(struct harvest *h, struct err *e);
} rows[FORK_ROW_N] = {
#define ROW(id, function, undo, why) [FORK_##id] = {"capture." #id, function, undo},
#include "fork/harvest.def"
#undef ROW
};

const char *fork_row_name(enum fork_row row)
{
	return row < FORK_ROW_N ? rows[row].name : "?";
}

#ifdef CLEAVE_DEV
/* The row did its work, then is told to have failed: its undo has something to do. */
static int fault(const char *name)
{
	const char *s = getenv("CLEAVE_TEST_FAIL");
	size_t n = strlen(name);

	if (!s || strncmp(s, name, n) || (s[n] && s[n] != ':'))
		return 0;
	return s[n] ? -(int)strtol(s + n + 1, NULL, 10) : -EIO;
}

/* Before the row: all above it is done and not undone. */
static void stop(const char *name)
{
	const char *s = getenv("CLEAVE_TEST_STOP");

	if (s && strcmp(s, name) == 0)
		raise(SIGSTOP);
}
#else
static int fault(const char *name)
{
	(void)name;
	return 0;
}

static void stop(const char *name)
{
	(void)name;
}
#endif

/* How long a task may take to leave the restorer, on a busy machine. */
#define LEAVE_NS UINT64_C(5000000000)

static int walk(struct harvest *h, struct err *e)
{
	struct err undone = ERR_INIT;
	int r = 0, i;

	for (i = 0; r == 0 && i < FORK_ROW_N; i++) {
		uint64_t start = fork_now_ns();

		stop(rows[i].name);
		r = rows[i].run(h, e);
		if (r == 0 && fault(rows[i].name))
			r = err_set(e, ERR_INTERNAL, -fault(rows[i].name), "injected failure");
		if (r < 0)
			r = life_explain(h, r, e);
		if (r < 0)
			err_step(e, rows[i].name);
		h->cap->row_ns[i] = fork_now_ns() - start;
	}
	while (i-- > 0)
		if (rows[i].undo(h, &undone) < 0 && r == 0) {
			/* The image is good, the source may not be: that must not pass. */
			*e = undone;
			err_step(e, rows[i].name);
			r = -EIO;
		}
	return r;
}

static void harvest_done(struct harvest *h)
{
	for (uint32_t i = 0; i < h->n_captives; i++)
		free(h->captive[i].maps);
	free(h->captive);
	free(h->dead);
	shared_done(h);
	free(h->tracee);
	proc_text_done(&h->text);
	image_builder_done(&h->b);
	descriptors_done(h);
}

static int checkpoint_once(const struct fork_source *src, struct fork_capture *ret,
			   bool *ret_leaving, struct err *e)
{
	struct harvest h = {.src = src, .cap = ret, .image_fd = -EBADF};
	int r;

	*ret = (struct fork_capture){.image_fd = -EBADF};
	r = fork_host(&h.b.host, e);
	if (r == 0)
		r = walk(&h, e);
	if (r == 0)
		ret->image_fd = take_fd(&h.image_fd);
	close_fd(&h.image_fd);
	*ret_leaving = r == -EAGAIN && h.leaving;
	harvest_done(&h);
	return r;
}

int fork_checkpoint(const struct fork_source *src, struct fork_capture *ret, struct err *e)
{
	uint64_t deadline = fork_now_ns() + LEAVE_NS;
	sigset_t chld, old;
	bool leaving;
	int r;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	/*
	 * A clone whose gate was opened a moment ago still has tasks in the restorer. They are led
	 * out; nothing of the capture that met them is kept.
	 */
	while ((r = checkpoint_once(src, ret, &leaving, e)) < 0 && leaving &&
	       fork_now_ns() < deadline) {
		fork_capture_done(ret);
		*e = ERR_INIT;
		usleep(1000);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

static void notes_done(struct fork_notes *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->line[i]);
	free(n->line);
}

void fork_capture_done(struct fork_capture *c)
{
	close_fd(&c->image_fd);
	notes_done(&c->carried);
	notes_done(&c->recreated);
	notes_done(&c->broken);
	*c = (struct fork_capture){.image_fd = -EBADF};
}
