/* SPDX-License-Identifier: Apache-2.0 */
/* L2: what a sandbox used, and the news that it ran out of memory. */
#include "kern/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A second in all: by then the kernel has killed, or found that it need not. */
#define OOM_LOOK_NS 2000000
#define OOM_LOOKS 500

static uint64_t add(uint64_t a, uint64_t b)
{
	if (a == CGROUP_UNKNOWN || b == CGROUP_UNKNOWN)
		return a == CGROUP_UNKNOWN ? b : a;
	return a + b;
}

static uint64_t us_to_ns(uint64_t us)
{
	return us > CGROUP_UNKNOWN / 1000 ? CGROUP_UNKNOWN : us * 1000;
}

/* Where both bounds are equal the kernel meets memory+swap first, and newer kernels (seen on 6.18)
 * do not count failures there: then 0 tells nothing, unless a kill proves a hit. */
static uint64_t hits_v1(int fd, uint64_t oom_kills)
{
	uint64_t hits = add(cgroup_file_u64(fd, "memory.failcnt"),
			    cgroup_file_u64(fd, "memory.memsw.failcnt"));

	if (hits)
		return hits;
	if (oom_kills && oom_kills != CGROUP_UNKNOWN)
		return oom_kills;
	return cgroup_file_u64(fd, "memory.limit_in_bytes") ==
			       cgroup_file_u64(fd, "memory.memsw.limit_in_bytes")
		       ? CGROUP_UNKNOWN
		       : 0;
}

static void read_memory_v1(int fd, struct cgroup_stats *s)
{
	uint64_t both = cgroup_file_u64(fd, "memory.memsw.usage_in_bytes");

	s->memory_bytes = cgroup_file_u64(fd, "memory.usage_in_bytes");
	s->memory_peak_bytes = cgroup_file_u64(fd, "memory.max_usage_in_bytes");
	if (both != CGROUP_UNKNOWN && s->memory_bytes != CGROUP_UNKNOWN)
		s->swap_bytes = both > s->memory_bytes ? both - s->memory_bytes : 0;
	s->oom_kills = cgroup_file_key(fd, "memory.oom_control", "oom_kill");
	s->memory_hits = hits_v1(fd, s->oom_kills);
}

static void read_memory_v2(int fd, struct cgroup_stats *s)
{
	char text[512];

	s->memory_bytes = cgroup_file_u64(fd, "memory.current");
	s->memory_peak_bytes = cgroup_file_u64(fd, "memory.peak");
	s->swap_bytes = cgroup_file_u64(fd, "memory.swap.current");
	if (cgroup_file_read(fd, "memory.events", text, sizeof(text)) < 0)
		return;
	s->oom_kills = cgroup_parse_key(text, "oom_kill");
	s->memory_hits = cgroup_parse_key(text, "max");
}

static void read_cpu_v2(int fd, struct cgroup_stats *s)
{
	char text[1024];

	if (cgroup_file_read(fd, "cpu.stat", text, sizeof(text)) < 0)
		return;
	s->cpu_user_ns = us_to_ns(cgroup_parse_key(text, "user_usec"));
	s->cpu_system_ns = us_to_ns(cgroup_parse_key(text, "system_usec"));
}

/* The two parts are counted in ticks, which some kernels (seen on 6.1) hand out unevenly; their sum
 * is exact in another file, and is shared out as they stand to each other. */
static void read_cpu_v1(int fd, struct cgroup_stats *s)
{
	uint64_t all = cgroup_file_u64(fd, "cpuacct.usage");
	uint64_t user = cgroup_file_u64(fd, "cpuacct.usage_user");
	uint64_t system = cgroup_file_u64(fd, "cpuacct.usage_sys");

	if (all != CGROUP_UNKNOWN && user != CGROUP_UNKNOWN && system != CGROUP_UNKNOWN) {
		double part = user + system ? (double)user / (double)(user + system) : 1;

		user = (uint64_t)((double)all * part);
		user = user < all ? user : all;
		system = all - user;
	}
	s->cpu_user_ns = user;
	s->cpu_system_ns = system;
}

static void read_cpu(const struct cgroup *cg, struct cgroup_stats *s)
{
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_CPUACCT);

	if (d && d->version == 1)
		read_cpu_v1(d->fd, s);
	else if (d)
		read_cpu_v2(d->fd, s);
}

uint64_t cgroup_cpu_ns(const struct cgroup *cg)
{
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_CPUACCT);

	if (!d)
		return CGROUP_UNKNOWN;
	return d->version == 1 ? cgroup_file_u64(d->fd, "cpuacct.usage")
			       : us_to_ns(cgroup_file_key(d->fd, "cpu.stat", "usage_usec"));
}

void cgroup_stats_read(const struct cgroup *cg, struct cgroup_stats *ret)
{
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_MEMORY);

	memset(ret, 0xff, sizeof(*ret)); /* CGROUP_UNKNOWN everywhere */
	if (d && d->version == 1)
		read_memory_v1(d->fd, ret);
	else if (d)
		read_memory_v2(d->fd, ret);
	d = cgroup_dir_for(cg, CGROUP_PIDS);
	if (d) {
		ret->pids = cgroup_file_u64(d->fd, "pids.current");
		ret->pids_peak = cgroup_file_u64(d->fd, "pids.peak");
		ret->pids_hits = cgroup_file_key(d->fd, "pids.events", "max");
	}
	read_cpu(cg, ret);
	d = cgroup_dir_for(cg, CGROUP_CPU);
	if (d && d->version == 1)
		ret->cpu_throttled_ns = cgroup_file_key(d->fd, "cpu.stat", "throttled_time");
	else if (d)
		ret->cpu_throttled_ns =
			us_to_ns(cgroup_file_key(d->fd, "cpu.stat", "throttled_usec"));
}

/* One descriptor for the event and the timer that looks again. */
static int oom_join(int fd, int event_fd, int timer_fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	if (epoll_ctl(fd, EPOLL_CTL_ADD, event_fd, &e) < 0 ||
	    epoll_ctl(fd, EPOLL_CTL_ADD, timer_fd, &e) < 0)
		return -errno;
	return 0;
}

void cgroup_stats_end(const struct cgroup *cg, struct cgroup_stats *ret)
{
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_MEMORY);
	bool v1;

	memset(ret, 0xff, sizeof(*ret));
	if (d) {
		v1 = d->version == 1;
		ret->memory_peak_bytes =
			cgroup_file_u64(d->fd, v1 ? "memory.max_usage_in_bytes" : "memory.peak");
		ret->oom_kills = cgroup_file_key(d->fd, v1 ? "memory.oom_control" : "memory.events",
						 "oom_kill");
	}
	d = cgroup_dir_for(cg, CGROUP_PIDS);
	if (d) {
		ret->pids_peak = cgroup_file_u64(d->fd, "pids.peak");
		ret->pids_hits = cgroup_file_key(d->fd, "pids.events", "max");
	}
	read_cpu(cg, ret);
}

static int oom_open_v1(const struct cgroup_dir *d, struct cgroup_oom *ret)
{
	char text[32];
	AUTO_FD int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	AUTO_FD int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	AUTO_FD int fd = epoll_create1(EPOLL_CLOEXEC);
	AUTO_FD int memory_fd =
		openat(d->fd, "memory.oom_control", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (event_fd < 0 || timer_fd < 0 || fd < 0 || memory_fd < 0)
		return -errno;
	r = oom_join(fd, event_fd, timer_fd);
	snprintf(text, sizeof(text), "%d %d", event_fd, memory_fd);
	if (r == 0)
		r = cgroup_file_write(d->fd, "cgroup.event_control", text);
	if (r < 0)
		return r;
	*ret = (struct cgroup_oom){.fd = take_fd(&fd),
				   .events = EPOLLIN,
				   .memory_fd = take_fd(&memory_fd),
				   .event_fd = take_fd(&event_fd),
				   .timer_fd = take_fd(&timer_fd)};
	return 0;
}

int cgroup_oom_open(const struct cgroup *cg, struct cgroup_oom *ret, struct err *e)
{
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_MEMORY);
	int r = 0;

	*ret = CGROUP_OOM_INIT;
	if (!d)
		return err_set(e, ERR_INTERNAL, EINVAL, "cgroup: no memory controller to watch");
	if (d->version == 1) {
		r = oom_open_v1(d, ret);
	} else {
		/* Not inotify: its instances are few and shared by all of a user's processes. */
		ret->fd = openat(d->fd, "memory.events", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		ret->events = EPOLLPRI;
		if (ret->fd < 0)
			r = -errno;
		else
			/* A read arms the notification. */
			ignore_err(cgroup_oom_take(ret), "nothing runs in there yet");
	}
	if (r < 0)
		return err_set(e, ERR_LIMIT, -r, "can't watch the memory of cgroup %s", d->path);
	return 0;
}

/* Has the kill that v1 announced been counted? Looks again later if not. */
static void oom_look_again(struct cgroup_oom *oom, uint64_t kills)
{
	struct itimerspec t = {0};
	uint64_t count;
	bool told = read(oom->event_fd, &count, sizeof(count)) > 0;

	ignore_err(read(oom->timer_fd, &count, sizeof(count)), "it may not have been the timer");
	if (kills != CGROUP_UNKNOWN && kills > oom->seen) {
		oom->seen = kills;
		oom->looks = 0;
	} else if (told) {
		oom->looks = OOM_LOOKS;
	} else if (oom->looks) {
		oom->looks--;
	}
	t.it_value.tv_nsec = oom->looks ? OOM_LOOK_NS : 0;
	timerfd_settime(oom->timer_fd, 0, &t, NULL);
}

uint64_t cgroup_oom_take(struct cgroup_oom *oom)
{
	bool v1 = oom->memory_fd >= 0;
	char text[512];
	uint64_t kills;
	ssize_t n = pread(v1 ? oom->memory_fd : oom->fd, text, sizeof(text) - 1, 0);

	if (n >= 0)
		text[n] = '\0';
	kills = n < 0 ? CGROUP_UNKNOWN : cgroup_parse_key(text, "oom_kill");
	if (v1)
		oom_look_again(oom, kills);
	return kills;
}

void cgroup_oom_close(struct cgroup_oom *oom)
{
	if (oom->fd < 0)
		return;
	close_fd(&oom->fd);
	close_fd(&oom->memory_fd);
	close_fd(&oom->event_fd);
	close_fd(&oom->timer_fd);
}
