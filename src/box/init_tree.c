/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over the sandbox's own /proc. Nobody inside can mount anything over it. */
#include "box/init_tree.h"

#include <linux/fcntl.h>
#include <linux/resource.h>
#include <linux/wait.h>

#define TICK_NS UINT64_C(10000000) /* USER_HZ is 100 on every architecture that we know */
#define FLAGS 9                    /* of the task, the 9th field of stat */
#define PF_EXITING 4u
#define CHILD_TIMES 16 /* cutime is the 16th field of stat, cstime the next */
#define STAT_BYTES 1024
#define LIMITS_BYTES 4096
#define NAP_NS 500000
#define NAP_MAX_NS 8000000
#define HUNT_NS UINT64_C(2000000000) /* who hangs in the kernel still dies, but not for us */
#define STOP_AFTER 4                 /* looks that found more than the one before */
#define SIGKILL_ 9
#define SIGCONT_ 18
#define SIGSTOP_ 19

struct directory_entry {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

static int32_t parse_pid(const char *name)
{
	int32_t pid = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		pid = pid * 10 + (*name - '0');
	return *name ? 0 : pid;
}

/* Calls fn for each process but init. False when /proc can't be read. */
static bool tree_each(void (*fn)(void *arg, int32_t pid), void *arg)
{
	static char buf[8192] __attribute__((aligned(8)));
	long fd = SYS3(SYS_openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;

	if (fd < 0)
		return false;
	while ((n = SYS3(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n;) {
			const struct directory_entry *e = (const void *)(buf + at);
			int32_t pid = parse_pid(e->name);

			if (pid > 1)
				fn(arg, pid);
			at += e->len;
		}
	(void)raw_close((int)fd);
	return n == 0;
}

/* A file of /proc/PID into buf, ended by NUL. Returns its length or a negative errno. */
static long read_of(int32_t pid, const char *file, char *buf, size_t size)
{
	char path[48] = "/proc/";
	size_t len = 6;
	long fd, n;

	raw_format_u64(path + len, (uint64_t)pid);
	len = raw_strlen(path);
	memcpy(path + len, file, raw_strlen(file) + 1);
	fd = SYS3(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fd;
	n = raw_read((int)fd, buf, size - 1);
	(void)raw_close((int)fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

/* The process clock of another process, which everybody in its pid namespace may read. */
static uint64_t own_ns(int32_t pid)
{
	struct raw_timespec t = {0, 0};

	if (SYS2(SYS_clock_gettime, (~(unsigned)pid << 3) | 2, &t) < 0)
		return 0;
	return (uint64_t)t.sec * 1000000000u + (uint64_t)t.nsec;
}

/* /proc/PID/stat into text; returns what follows the name: " S ppid ...", or NULL. The name may
 * hold anything but ends at the last ')'. */
static const char *stat_of(int32_t pid, char text[STAT_BYTES])
{
	const char *after = 0;

	if (read_of(pid, "/stat", text, STAT_BYTES) <= 0)
		return 0;
	for (const char *p = text; *p; p++)
		if (*p == ')')
			after = p + 1;
	return after;
}

static bool is_zombie(int32_t pid)
{
	char text[STAT_BYTES];
	const char *at = stat_of(pid, text);

	return !at || !at[0] || at[1] == 'Z' || at[1] == 'X';
}

static uint64_t children_ns(int32_t pid)
{
	char text[STAT_BYTES];
	const char *at = stat_of(pid, text);
	uint64_t ticks[2] = {0, 0};
	unsigned field = 2;

	for (; at && *at && field < CHILD_TIMES + 2; at++) {
		if (*at == ' ')
			field++;
		else if (field >= CHILD_TIMES && field < CHILD_TIMES + 2 && *at >= '0' &&
			 *at <= '9')
			ticks[field - CHILD_TIMES] =
				ticks[field - CHILD_TIMES] * 10 + (uint64_t)(*at - '0');
	}
	return (ticks[0] + ticks[1]) * TICK_NS;
}

bool tree_is_ending(int32_t pid)
{
	char text[STAT_BYTES];
	const char *at = stat_of(pid, text);
	uint64_t flags = 0;
	unsigned field = 2;

	for (; at && *at && field <= FLAGS; at++) {
		if (*at == ' ')
			field++;
		else if (field == FLAGS && *at >= '0' && *at <= '9')
			flags = flags * 10 + (uint64_t)(*at - '0');
	}
	return !at || flags & PF_EXITING;
}

uint64_t tree_tag(int32_t pid)
{
	static const char row[] = "\nMax file locks";
	char text[LIMITS_BYTES];
	const char *at = text;
	uint64_t tag = 0;
	size_t n = 0;

	if (read_of(pid, "/limits", text, sizeof(text)) <= 0)
		return 0;
	for (; *at && row[n]; at++)
		n = *at == row[n] ? n + 1 : *at == row[0];
	while (*at == ' ')
		at++;
	for (; *at >= '0' && *at <= '9'; at++)
		tag = tag * 10 + (uint64_t)(*at - '0');
	return row[n] ? 0 : tag; /* "unlimited": 0 */
}

struct sum {
	uint64_t tag, ns;
};

static void add_cpu(void *arg, int32_t pid)
{
	struct sum *s = arg;

	if (!s->tag || tree_tag(pid) == s->tag)
		s->ns += own_ns(pid) + children_ns(pid);
}

struct timeval64 {
	int64_t sec, usec;
};

struct rusage64 {
	struct timeval64 user, system;
	int64_t rest[14];
};

static uint64_t timeval_ns(const struct timeval64 *t)
{
	return (uint64_t)t->sec * 1000000000u + (uint64_t)t->usec * 1000u;
}

uint64_t tree_cpu_ns(uint64_t tag)
{
	struct rusage64 reaped = {0};
	struct sum s = {tag, 0};

	if (!tag)
		(void)SYS2(SYS_getrusage, -1 /* RUSAGE_CHILDREN */, &reaped);
	(void)tree_each(add_cpu, &s);
	return s.ns + timeval_ns(&reaped.user) + timeval_ns(&reaped.system);
}

struct hunt {
	uint64_t tag;
	unsigned alive;
	struct tree_usage *used;
};

/* Held by a pidfd while it is looked at: its number can't become somebody else's. */
static void strike(void *arg, int32_t pid)
{
	struct hunt *h = arg;
	struct rusage64 u;
	long fd = SYS2(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return;
	if (tree_tag(pid) != h->tag) {
		(void)raw_close((int)fd);
		return;
	}
	if (!is_zombie(pid)) {
		h->alive++;
		/* ESRCH: it is a zombie by now */
		(void)SYS4(SYS_pidfd_send_signal, fd, SIGKILL_, 0, 0);
	} else if (SYS4(SYS_wait4, pid, 0, __WALL | WNOHANG, &u) == pid) {
		h->used->user_ns += timeval_ns(&u.user);
		h->used->system_ns += timeval_ns(&u.system);
	}
	(void)raw_close((int)fd);
}

void tree_kill(uint64_t tag, struct tree_usage *used)
{
	struct raw_timespec nap = {0, NAP_NS};
	uint64_t end = raw_now_ns() + HUNT_NS;
	unsigned before = 0, grown = 0;

	do {
		struct hunt h = {.tag = tag, .used = used};

		/* all at once, in one moment, forks under way included; SIGSTOP can't be refused */
		if (grown == STOP_AFTER)
			(void)SYS2(SYS_kill, -1, SIGSTOP_); /* ESRCH: there is none */
		/* without /proc nothing is found; it can't be unmounted inside */
		(void)tree_each(strike, &h);
		if (!h.alive)
			break;
		if (grown < STOP_AFTER)
			grown += h.alive > before;
		else
			grown++;
		before = h.alive;
		/* woken early it looks early */
		(void)SYS2(SYS_nanosleep, &nap, 0);
		if (nap.nsec < NAP_MAX_NS)
			nap.nsec *= 2;
	} while (raw_now_ns() < end);
	if (grown >= STOP_AFTER)
		(void)SYS2(SYS_kill, -1, SIGCONT_); /* ESRCH: there is none */
}
