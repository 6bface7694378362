/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors without a file: what fdinfo says about them is all there is. */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fork/descriptors.h"

#define MALFORMED(e, f)                                                                        \
	REFUSE(e, EPROTO, "process %d: descriptor %d (%s) describes itself in an unknown way", \
	       (f)->inside_pid, (f)->fd, (f)->target)

static int event_record(struct image_ofd *o, const struct open_file *f, const char *text,
			struct err *e)
{
	const char *v = fdinfo_find(text, "eventfd-count");

	if (!v)
		MALFORMED(e, f);
	o->kind = IMAGE_OFD_EVENT;
	o->value = strtoull(v, NULL, 16);
	v = fdinfo_find(text, "eventfd-semaphore");
	o->ref = v && strtoul(v, NULL, 10);
	return 0;
}

static int signal_record(struct image_ofd *o, const struct open_file *f, const char *text,
			 struct err *e)
{
	const char *v = fdinfo_find(text, "sigmask");

	if (!v)
		MALFORMED(e, f);
	o->kind = IMAGE_OFD_SIGNAL;
	o->value = strtoull(v, NULL, 16);
	return 0;
}

/* "key: (seconds, nanoseconds)" in nanoseconds. */
static bool interval(const char *text, const char *key, uint64_t *ret)
{
	const char *v = fdinfo_find(text, key);
	char *end;
	uint64_t s;

	v = v ? strchr(v, '(') : NULL;
	if (!v)
		return false;
	s = strtoull(v + 1, &end, 10);
	if (*end != ',' || s > 1u << 31)
		return false;
	*ret = s * 1000000000u + strtoull(end + 1, NULL, 10);
	return true;
}

static int timer_record(struct image_ofd *o, const struct open_file *f, const char *text,
			struct err *e)
{
	const char *clock = fdinfo_find(text, "clockid"), *ticks = fdinfo_find(text, "ticks");

	if (!clock || !ticks || !interval(text, "it_value", &o->value) ||
	    !interval(text, "it_interval", &o->interval))
		MALFORMED(e, f);
	o->kind = IMAGE_OFD_TIMER;
	o->ref = (uint32_t)strtoul(clock, NULL, 10);
	o->position = strtoull(ticks, NULL, 10);
	/* One that has fired stands still until somebody reads it, and its interval goes on. */
	if (!o->value && o->position)
		o->value = o->interval;
	if (o->ref != CLOCK_REALTIME && o->ref != CLOCK_MONOTONIC && o->ref != CLOCK_BOOTTIME)
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is a timer that wakes the machine",
		       f->inside_pid, f->fd);
	return 0;
}

/* Lines "tfd: N events: X data: X ..." become watches; which description each means is found when
 * all descriptors are known. */
static int epoll_record(struct harvest *h, struct image_ofd *o, const struct open_file *f,
			const char *text, struct err *e)
{
	uint32_t first = image_builder_count(&h->b, IMAGE_WATCH), n = 0;
	unsigned fd, events;
	unsigned long long data;

	for (const char *s = text; (s = strstr(s, "tfd:")); s++, n++) {
		struct image_watch *w;

		if (sscanf(s, "tfd: %u events: %x data: %llx", &fd, &events, &data) != 3)
			MALFORMED(e, f);
		w = image_builder_add(&h->b, IMAGE_WATCH, NULL);
		if (!w)
			REFUSE(e, ENOMEM, "describe process %d", f->inside_pid);
		*w = (struct image_watch){fd, events, data, IMAGE_NONE, 0};
	}
	o->kind = IMAGE_OFD_EPOLL;
	o->watches = (struct image_span){first, n};
	return 0;
}

int anon_record(struct harvest *h, struct open_table *t, uint32_t file, const char *target,
		const char *text, struct err *e)
{
	const struct open_file *f = &t->file[file];
	struct image_ofd *o = ofd_at(h, f->ofd);

	if (!strcmp(target, "[eventfd]"))
		return event_record(o, f, text, e);
	if (!strcmp(target, "[eventpoll]"))
		return epoll_record(h, o, f, text, e);
	if (!strcmp(target, "[timerfd]"))
		return timer_record(o, f, text, e);
	if (!strcmp(target, "[signalfd]"))
		return signal_record(o, f, text, e);
	REFUSE(e, ENOTSUP, "process %d: descriptor %d is of a kind that can't be carried: %s",
	       f->inside_pid, f->fd, f->target);
}

static const struct image_fd *fd_find(struct harvest *h, const struct image_proc *p,
				      uint32_t number, uint32_t ofd)
{
	for (uint32_t i = p->fds.first; i < p->fds.first + p->fds.count; i++) {
		const struct image_fd *x = image_builder_at(&h->b, IMAGE_FD, i);

		if ((number == IMAGE_NONE || x->number == number) &&
		    (ofd == IMAGE_NONE || x->ofd == ofd))
			return x;
	}
	return NULL;
}

struct epoll_slot {
	uint32_t efd, tfd, toff;
};

/*
 * A watch is kept under a number and a description. A process must hold both the set and that
 * description under that number, else nobody could register it anew: the same process will in the
 * clone. (One number may have been registered for several descriptions: toff counts.)
 */
static int watch_settle(struct harvest *h, uint32_t ofd, struct image_watch *w, uint32_t toff)
{
	for (uint32_t i = 0; i < h->n_captives; i++) {
		const struct captive *c = &h->captive[i];
		const struct image_proc *p = harvest_proc(h, c);
		const struct image_fd *set = fd_find(h, p, IMAGE_NONE, ofd);
		const struct image_fd *target = fd_find(h, p, w->fd, IMAGE_NONE);
		struct epoll_slot slot;

		if (!set || !target)
			continue;
		slot = (struct epoll_slot){set->number, w->fd, toff};
		if (syscall(SYS_kcmp, c->pid, c->pid, KCMP_EPOLL_TFD, w->fd, &slot) == 0) {
			w->ofd = target->ofd;
			return 0;
		}
	}
	return -ENOENT;
}

int events_settle(struct harvest *h, struct open_table *t, struct err *e)
{
	for (uint32_t i = 0; i < t->n_files; i++) {
		const struct open_file *f = &t->file[i];
		struct image_span s = ofd_at(h, f->ofd)->watches;

		if (ofd_at(h, f->ofd)->kind != IMAGE_OFD_EPOLL)
			continue;
		for (uint32_t k = s.first; k < s.first + s.count; k++) {
			struct image_watch *w = image_builder_at(&h->b, IMAGE_WATCH, k);
			uint32_t toff = 0;

			for (uint32_t j = s.first; j < k; j++)
				toff += ((struct image_watch *)image_builder_at(&h->b, IMAGE_WATCH,
										j))
						->fd == w->fd;
			if (watch_settle(h, f->ofd, w, toff) < 0)
				REFUSE(e, ENOENT,
				       "process %d: descriptor %d (epoll) watches %u, which is "
				       "closed",
				       f->inside_pid, f->fd, w->fd);
		}
	}
	return 0;
}
