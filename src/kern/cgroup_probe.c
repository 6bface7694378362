/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: which controllers this process can use, and where. Reads only; nothing is made or changed.
 *
 * Each hierarchy has candidate directories, tried in order: for uid 0 the top of the hierarchy as
 * it is mounted here; then the caller's own cgroup and, inside the same systemd unit, those above
 * it. The first that works becomes a place. A reason why a controller is unusable is the one of the
 * first candidate, since that is where it ought to work.
 *
 * v2 is looked at before v1: its freezer and processor clock need no controller, its freezer lets
 * killed tasks die, and a child is born inside it. So on a hybrid host one v2 directory stands in
 * for two of v1.
 */
#include "kern/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "kern/probe.h"

#define PROC_TEXT_MAX (4u << 20)
#define CANDIDATE_MAX 16

#define HINT_SCOPE "systemd-run --user --scope -p Delegate=yes -- cleave ..."
/* For what the user's manager itself did not get (cpu, on older systemd); holds from the next
 * login. */
#define HINT_MANAGER                                                          \
	"sudo sh -c 'mkdir -p /etc/systemd/system/user@.service.d && printf " \
	"\"[Service]\\nDelegate=cpu memory pids\\n\" "                        \
	">/etc/systemd/system/user@.service.d/cleave.conf && systemctl daemon-reload'"
/* Without systemd: a subtree for this user, and the shell in a leaf of it. */
#define HINT_BY_HAND                                                                        \
	"sudo sh -c \"cd /sys/fs/cgroup; echo +memory +pids +cpu >cgroup.subtree_control; " \
	"u=$(id -u); mkdir -p u\\$u/sh; cd u\\$u; chown \\$u . sh cgroup.procs "            \
	"cgroup.subtree_control; echo $$ >sh/cgroup.procs\""

/* What stands in the way, told for every controller that it blocks. */
struct verdict {
	uint32_t usable;
	struct cgroup_ctl_state ctl[CGROUP_CTL_N]; /* why_not and hint only */
};

/* Keeps the first reason for each controller of the mask. hint may be empty. */
__attribute__((format(printf, 4, 5))) static void refuse(struct verdict *v, uint32_t ctls,
							 const char *hint, const char *fmt, ...)
{
	char why[192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	for (int i = 0; i < CGROUP_CTL_N; i++) {
		struct cgroup_ctl_state *s = &v->ctl[i];

		if (!(ctls & CGROUP_BIT(i)) || s->why_not[0])
			continue;
		snprintf(s->why_not, sizeof(s->why_not), "%s", why);
		snprintf(s->hint, sizeof(s->hint), "%s", hint);
	}
}

/* A systemd unit of an ordinary user's manager that was not asked to be delegated. */
static bool is_bare_unit(int dir_fd, const char *path)
{
	const char *last = strrchr(path, '/');
	char value[8];

	if (geteuid() == 0 || !last || !(strstr(last, ".scope") || strstr(last, ".service")))
		return false;
	return fgetxattr(dir_fd, "user.delegate", value, sizeof(value)) != 1 || value[0] != '1';
}

/* The line that gives an ordinary user a place of his own. */
static const char *hint_delegate(int version)
{
	if (geteuid() == 0)
		return "";
	if (version == 1) /* v1 can't be delegated safely, so nothing hands it to users */
		return "sudo cleave ...";
	return access("/run/systemd/system", F_OK) == 0 ? HINT_SCOPE : HINT_BY_HAND;
}

/* Can we make directories here and put processes into them? */
static bool check_writable(const struct cgroup_mount *m, const struct cgroup_place *p, int dir_fd,
			   uint32_t ctls, struct verdict *v)
{
	char hint[256];

	if (faccessat(dir_fd, ".", W_OK | X_OK, AT_EACCESS) < 0 ||
	    faccessat(dir_fd, "cgroup.procs", W_OK, AT_EACCESS) < 0) {
		if (errno != EROFS)
			refuse(v, ctls, hint_delegate(p->version),
			       "%.150s is not delegated to this user", p->base);
		else if (geteuid() == 0 && snprintf(hint, sizeof(hint), "mount -o remount,rw %s",
						    m->point) < (int)sizeof(hint))
			refuse(v, ctls, hint, "%.150s is mounted read-only", p->base);
		else
			refuse(v, ctls, "", "%.150s is mounted read-only", p->base);
		return false;
	}
	if (faccessat(dir_fd, CGROUP_PARENT, W_OK | X_OK, AT_EACCESS) < 0 && errno != ENOENT) {
		refuse(v, ctls, "", "%.150s/" CGROUP_PARENT " belongs to somebody else", p->base);
		return false;
	}
	return true;
}

/* 0: no process in the directory, 1: only the caller and its like, 2: others, or -errno. */
static int who_is_inside(int dir_fd)
{
	char text[16384];
	const char *at = text;
	long pid;
	int who = 0, r = cgroup_file_read(dir_fd, "cgroup.procs", text, sizeof(text));

	if (r == -E2BIG)
		return 2;
	if (r < 0)
		return r;
	while ((pid = cgroup_parse_pid(&at)) >= 0) {
		if (!cgroup_is_our_program(pid))
			return 2;
		who = 1;
	}
	return who;
}

static void refuse_crowd(const struct cgroup_place *p, int dir_fd, struct verdict *v)
{
	char hint[256];
	int n = snprintf(hint, sizeof(hint),
			 "cd %s && mkdir -p init && while read p; do echo $p >init/cgroup.procs; "
			 "done <cgroup.procs",
			 p->base);

	if (is_bare_unit(dir_fd, p->base) || n >= (int)sizeof(hint))
		snprintf(hint, sizeof(hint), HINT_SCOPE);
	refuse(v, p->enable, hint,
	       "other processes sit in %.100s, so controllers can't be handed down", p->base);
}

/* Controllers that are offered but not yet handed down can be enabled only where no process sits,
 * unless it is the true root, which alone lacks cgroup.events. */
static void check_enable(int dir_fd, struct cgroup_place *p, struct verdict *v)
{
	int who;

	if (!p->enable)
		return;
	if (faccessat(dir_fd, "cgroup.subtree_control", W_OK, AT_EACCESS) < 0) {
		refuse(v, p->enable, hint_delegate(2), "%.150s is not delegated to this user",
		       p->base);
	} else {
		who = cgroup_file_exists(dir_fd, "cgroup.events") ? who_is_inside(dir_fd) : 0;
		p->move_self = who == 1;
		if (who == 0 || who == 1)
			return;
		refuse_crowd(p, dir_fd, v);
	}
	p->ctls &= ~p->enable;
	p->enable = 0;
}

static void check_v2_ctls(int dir_fd, struct cgroup_place *p, struct verdict *v)
{
	char text[1024];
	uint32_t have = 0, handed_down = 0, missing;
	int n = cgroup_file_read(dir_fd, "cgroup.controllers", text, sizeof(text));

	if (n > 0)
		have = cgroup_parse_ctls(text, (size_t)n) & CGROUP_V2_CTLS;
	n = cgroup_file_read(dir_fd, "cgroup.subtree_control", text, sizeof(text));
	if (n > 0)
		handed_down = cgroup_parse_ctls(text, (size_t)n) & CGROUP_V2_CTLS;
	missing = CGROUP_V2_CTLS & ~have;
	if (geteuid() == 0)
		refuse(v, missing, "", "the controller is not offered at %.100s", p->base);
	else
		refuse(v, missing, is_bare_unit(dir_fd, p->base) ? HINT_SCOPE : HINT_MANAGER,
		       "the controller is not delegated to %.100s", p->base);
	p->ctls = have | CGROUP_V2_CORE;
	p->enable = have & ~handed_down;
	check_enable(dir_fd, p, v);
}

/* Looks at one directory. Fills *v with what works there and why the rest does not. */
static void check_candidate(const struct cgroup_mount *m, const char *path, struct cgroup_place *p,
			    struct verdict *v)
{
	uint32_t all = m->version == 2 ? CGROUP_V2_CTLS | CGROUP_V2_CORE : m->ctls;
	char type[64];
	AUTO_FD int dir_fd = -EBADF;
	int version = cgroup_dir_open(AT_FDCWD, path, &dir_fd);

	*v = (struct verdict){0};
	*p = (struct cgroup_place){.version = m->version, .ctls = m->ctls};
	snprintf(p->base, sizeof(p->base), "%.*s", CGROUP_PATH_SIZE - 1, path);
	if (version != m->version) {
		refuse(v, all, "", "%.150s can't be opened as a cgroup", path);
		return;
	}
	if (!check_writable(m, p, dir_fd, all, v))
		return;
	if (m->version == 2) {
		if (cgroup_file_read(dir_fd, "cgroup.type", type, sizeof(type)) > 0 &&
		    strncmp(type, "domain\n", 7)) {
			refuse(v, all, "", "%.150s is a threaded cgroup", path);
			return;
		}
		check_v2_ctls(dir_fd, p, v);
	}
	v->usable = p->ctls;
}

static void strip_keepers(char *path)
{
	static const char tail[] = "/" CGROUP_PARENT "/" CGROUP_KEEPERS;
	size_t n = strlen(path), t = strlen(tail);

	if (n > t && !strcmp(path + n - t, tail))
		path[n - t] = '\0';
}

/* The directories to try for mount m, best first. Returns how many. */
static int list_candidates(const struct cgroup_mount *m, const char *self_text, size_t self_n,
			   char (*ret)[CGROUP_PATH_SIZE])
{
	char self[CGROUP_PATH_SIZE], own[CGROUP_PATH_SIZE];
	int n = 0;

	if (geteuid() == 0)
		snprintf(ret[n++], CGROUP_PATH_SIZE, "%s", m->point);
	if (cgroup_parse_self(self_text, self_n, m->version == 2 ? 0 : m->ctls, self,
			      sizeof(self)) < 0 ||
	    cgroup_parse_own(m, self, own, sizeof(own)) < 0)
		return n;
	strip_keepers(own);
	do {
		if (!n || strcmp(ret[0], own) != 0)
			snprintf(ret[n++], CGROUP_PATH_SIZE, "%s", own);
	} while (n < CANDIDATE_MAX && cgroup_path_up(own, m->point));
	return n;
}

/* Development builds: what is to be taken for absent (CLEAVE_TEST_NO). */
static uint32_t absent_for_test(void)
{
	static const struct {
		enum probe_id id;
		enum cgroup_ctl ctl;
	} v[] = {{PROBE_CGROUP_MEMORY, CGROUP_MEMORY},
		 {PROBE_CGROUP_PIDS, CGROUP_PIDS},
		 {PROBE_CGROUP_CPU, CGROUP_CPU},
		 {PROBE_FREEZER, CGROUP_FREEZER}};
	uint32_t mask = 0;

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		mask |= probe_test_absent(v[i].id) ? CGROUP_BIT(v[i].ctl) : 0;
	return mask;
}

/* Takes what the place offers and is not covered yet; keeps reasons for the rest. */
static void take_place(struct cgroup_host *host, const struct cgroup_place *p,
		       const struct verdict *v)
{
	uint32_t covered = cgroup_usable(host);
	uint32_t take = v->usable & ~covered & ~absent_for_test();

	for (int i = 0; i < CGROUP_CTL_N; i++) {
		struct cgroup_ctl_state *s = &host->ctl[i];

		if (take & CGROUP_BIT(i))
			*s = (struct cgroup_ctl_state){.version = p->version,
						       .place = host->place_n};
		else if (s->place < 0 && v->ctl[i].why_not[0] &&
			 (!s->why_not[0] || p->version == 1)) {
			memcpy(s->why_not, v->ctl[i].why_not, sizeof(s->why_not));
			memcpy(s->hint, v->ctl[i].hint, sizeof(s->hint));
		}
	}
	if (!take)
		return;
	host->place[host->place_n] = *p;
	host->place[host->place_n].ctls = take;
	host->place[host->place_n].enable &= take;
	host->place_n++;
}

static int count_bits(uint32_t mask)
{
	return __builtin_popcount(mask);
}

/* One hierarchy: the candidate that offers most, the earlier one among equals. */
static void probe_mount(struct cgroup_host *host, const struct cgroup_mount *m,
			const char *self_text, size_t self_n)
{
	char path[CANDIDATE_MAX][CGROUP_PATH_SIZE];
	struct cgroup_place best = {0}, p;
	struct verdict first = {0}, v;
	uint32_t all = m->version == 2 ? CGROUP_V2_CTLS | CGROUP_V2_CORE : m->ctls;
	int n = list_candidates(m, self_text, self_n, path);

	if (!n)
		refuse(&first, all, "", "the caller's own cgroup is not visible below %.100s",
		       m->point);
	for (int i = 0; i < n; i++) {
		check_candidate(m, path[i], &p, &v);
		if (!i) {
			first = v;
			best = p;
		} else if (count_bits(v.usable) > count_bits(first.usable)) {
			first.usable = v.usable;
			best = p;
		}
		if (first.usable == all)
			break;
	}
	take_place(host, &best, &first);
}

static void name_layout(struct cgroup_host *host, const struct cgroup_mount *m, int n)
{
	bool v1 = false, v2 = false;

	for (int i = 0; i < n; i++) {
		v1 = v1 || m[i].version == 1;
		v2 = v2 || m[i].version == 2;
	}
	snprintf(host->layout, sizeof(host->layout), "%s",
		 v1 && v2 ? "hybrid"
		 : v1     ? "v1"
		 : v2     ? "v2"
			  : "none");
}

uint32_t cgroup_usable(const struct cgroup_host *host)
{
	uint32_t mask = 0;

	for (int i = 0; i < CGROUP_CTL_N; i++)
		if (host->ctl[i].place >= 0 && host->ctl[i].version)
			mask |= CGROUP_BIT(i);
	return mask;
}

bool cgroup_comes_along(const struct cgroup_host *host, uint32_t want, enum cgroup_ctl ctl)
{
	for (int i = 0; i < host->place_n; i++)
		if (host->place[i].ctls & want && host->place[i].ctls & CGROUP_BIT(ctl))
			return true;
	return false;
}

static void refuse_rest(struct cgroup_host *host, uint32_t want, const char *why, const char *hint)
{
	for (int i = 0; i < CGROUP_CTL_N; i++) {
		struct cgroup_ctl_state *s = &host->ctl[i];

		if (s->place >= 0 || s->why_not[0] || !(want & CGROUP_BIT(i)))
			continue;
		snprintf(s->why_not, sizeof(s->why_not), "%s", why);
		snprintf(s->hint, sizeof(s->hint), "%s", hint);
	}
}

static void host_init(struct cgroup_host *host)
{
	*host = (struct cgroup_host){.layout = "none"};
	for (int i = 0; i < CGROUP_CTL_N; i++)
		host->ctl[i].place = -1;
}

int cgroup_probe_texts(uint32_t want, const char *mounts, size_t mounts_n, const char *self,
		       size_t self_n, struct cgroup_host *ret)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX]; /* the parser fills what it counts */
	int n;

	host_init(ret);
	n = cgroup_parse_mountinfo(mounts, mounts_n, m, CGROUP_MOUNT_MAX);
	name_layout(ret, m, n);
	for (int version = 2; version >= 1; version--)
		for (int i = 0; i < n; i++)
			if (m[i].version == version && ret->place_n < CGROUP_DIR_MAX &&
			    (version == 2 || m[i].ctls & want & ~cgroup_usable(ret)))
				probe_mount(ret, &m[i], self, self_n);
	refuse_rest(ret, want,
		    n ? "no mounted cgroup hierarchy carries the controller"
		      : "no cgroup file system is mounted",
		    n           ? ""
		    : geteuid() ? "as root: mount -t cgroup2 none /sys/fs/cgroup"
				: "mount -t cgroup2 none /sys/fs/cgroup");
	return 0;
}

int cgroup_probe(uint32_t want, struct cgroup_host *ret)
{
	size_t mounts_n = 0, self_n = 0;
	AUTO_FREE char *mounts = NULL;
	AUTO_FREE char *self = NULL;
	int r;

	mounts = cgroup_file_slurp(AT_FDCWD, "/proc/self/mountinfo", PROC_TEXT_MAX, &mounts_n);
	if (mounts)
		self = cgroup_file_slurp(AT_FDCWD, "/proc/self/cgroup", PROC_TEXT_MAX, &self_n);
	r = self ? 0 : -errno;
	if (self)
		return cgroup_probe_texts(want, mounts, mounts_n, self, self_n, ret);
	host_init(ret);
	refuse_rest(ret, want, "/proc/self/mountinfo and /proc/self/cgroup can't be read", "");
	return r;
}
