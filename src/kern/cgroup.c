/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: the directories of a sandbox: where they go, making them, getting in, removing them.
 *
 * Making on v2: the child directory is made before controllers are enabled in `cleave`. While a
 * child exists its parent can't vanish, so nobody who tidies up an empty `cleave` at the same time
 * can leave us with a directory that lacks its controllers.
 */
#include "kern/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROCS_MAX_BYTES (64u << 10)

uint64_t cgroup_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool cgroup_wait(int events_fd, uint64_t deadline_ns, unsigned *round)
{
	struct pollfd p = {.fd = events_fd, .events = POLLPRI};
	uint64_t now = cgroup_now_ns(), nap;
	struct timespec t = {0};

	if (now >= deadline_ns)
		return false;
	/* The kernel delays a second notification by up to 10 ms, so the poll alone won't do. */
	if ((*round)++ < 20) {
		sched_yield();
		return true;
	}
	nap = 50000ull << (*round < 28 ? *round - 20 : 7);
	if (nap > 5000000)
		nap = 5000000;
	if (nap > deadline_ns - now)
		nap = deadline_ns - now;
	t.tv_nsec = (long)nap;
	ignore_err(ppoll(&p, 1, &t, NULL), "the caller looks again whatever woke it");
	return true;
}

const struct cgroup_dir *cgroup_dir_for(const struct cgroup *cg, enum cgroup_ctl ctl)
{
	for (int i = 0; i < cg->dir_n; i++)
		if (cg->dir[i].ctls & CGROUP_BIT(ctl))
			return &cg->dir[i];
	return NULL;
}

static int check_want(const struct cgroup_host *host, uint32_t want, struct err *e)
{
	if (want >> CGROUP_CTL_N)
		return err_set(e, ERR_INTERNAL, EINVAL, "cgroup: unknown controller in %#x", want);
	for (int i = 0; i < CGROUP_CTL_N; i++) {
		const struct cgroup_ctl_state *s = &host->ctl[i];
		int r;

		if (!(want & CGROUP_BIT(i)) || s->version)
			continue;
		r = err_set(e, ERR_LIMIT, 0, "cgroup controller %s can't be used: %s",
			    cgroup_ctl_name(i), s->why_not);
		if (s->hint[0])
			err_hint(e, "%s", s->hint);
		return r;
	}
	return 0;
}

static int path_join(char *ret, const char *base, const char *tail, struct err *e)
{
	size_t b = strlen(base), t = strlen(tail);

	if (b == 1) /* "/" */
		b = 0;
	if (b + t >= CGROUP_PATH_SIZE)
		return err_set(e, ERR_LIMIT, ENAMETOOLONG, "cgroup path %.100s... is too long",
			       base);
	/* lint-allow: bugprone-not-null-terminated-result: the tail has the end */
	memcpy(ret, base, b);
	memcpy(ret + b, tail, t + 1);
	return 0;
}

int cgroup_paths(const struct cgroup_host *host, const char *id, uint32_t want, struct cgroup *ret,
		 struct err *e)
{
	char tail[CGROUP_ID_LEN + 16];
	int r = check_want(host, want, e);

	*ret = CGROUP_INIT;
	if (r < 0)
		return r;
	if (strlen(id) != CGROUP_ID_LEN || strspn(id, "0123456789abcdef") != CGROUP_ID_LEN)
		return err_set(e, ERR_INTERNAL, EINVAL, "cgroup: '%.20s' is not an ID", id);
	snprintf(tail, sizeof(tail), "/" CGROUP_PARENT "/%.12s", id);
	for (int i = 0; i < host->place_n; i++) {
		const struct cgroup_place *p = &host->place[i];
		struct cgroup_dir *d = &ret->dir[ret->dir_n];

		if (!(p->ctls & want))
			continue;
		*d = (struct cgroup_dir){.version = p->version,
					 .ctls = p->ctls & want,
					 .enable = p->enable & want,
					 .fd = -EBADF};
		r = path_join(d->path, p->base, tail, e);
		if (r < 0)
			break;
		ret->dir_n++;
		if (!p->move_self || !d->enable)
			continue;
		r = path_join(ret->keeper_path, p->base, "/" CGROUP_PARENT "/" CGROUP_KEEPERS, e);
		if (r < 0)
			break;
	}
	if (r < 0)
		*ret = CGROUP_INIT;
	return r;
}

void cgroup_tidy(const struct cgroup_host *host)
{
	static const char *const tails[] = {"/" CGROUP_PARENT "/" CGROUP_KEEPERS,
					    "/" CGROUP_PARENT};

	for (int i = 0; i < host->place_n; i++)
		for (size_t k = 0; k < ARRAY_LEN(tails); k++) {
			struct err ignored = ERR_INIT;
			char path[CGROUP_PATH_SIZE];

			if (path_join(path, host->place[i].base, tails[k], &ignored) >= 0)
				ignore_err(rmdir(path), "somebody lives there, or it is gone");
		}
}

/* Writes the controllers of mask that are not there yet to cgroup.subtree_control. */
static int hand_down(int dir_fd, uint32_t mask)
{
	char text[1024], word[32];
	uint32_t have = 0;
	int r, n = cgroup_file_read(dir_fd, "cgroup.subtree_control", text, sizeof(text));

	if (n < 0)
		return n;
	have = cgroup_parse_ctls(text, (size_t)n);
	for (int i = 0; i < CGROUP_CTL_N; i++) {
		if (!(mask & ~have & CGROUP_BIT(i)))
			continue;
		snprintf(word, sizeof(word), "+%s", cgroup_ctl_name(i));
		r = cgroup_file_write(dir_fd, "cgroup.subtree_control", word);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Makes NAME below parent unless it exists. */
static int ensure_dir(int parent_fd, const char *name)
{
	return mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* The directory that many levels above path: 1 is BASE/cleave, 2 is BASE. */
static int open_above(const char *path, int levels, int *ret_fd)
{
	char base[CGROUP_PATH_SIZE];
	char *slash;

	snprintf(base, sizeof(base), "%s", path);
	for (int i = 0; i < levels; i++) {
		slash = strrchr(base, '/');
		if (!slash)
			return -EINVAL;
		*slash = '\0';
	}
	return cgroup_dir_open(AT_FDCWD, base[0] ? base : "/", ret_fd);
}

/* Makes ID below cleave, which is mostly there already. */
static int make_child(int parent_fd, struct cgroup_dir *d)
{
	const char *id = strrchr(d->path, '/') + 1;
	int r;

	if (mkdirat(parent_fd, id, 0755) < 0)
		return -errno;
	r = cgroup_subdir_open(parent_fd, id, &d->fd);
	if (r < 0)
		ignore_err(unlinkat(parent_fd, id, AT_REMOVEDIR), "the first error counts");
	return r;
}

/* Makes cleave/ID below base. Somebody may remove an empty `cleave` between our two steps; the
 * bound is only there against a hostile one. */
static int make_dir(int base_fd, struct cgroup_dir *d, int *ret_parent_fd)
{
	for (int i = 0; i < 100; i++) {
		AUTO_FD int parent_fd = -EBADF;
		int r = ensure_dir(base_fd, CGROUP_PARENT);

		if (r < 0)
			return r;
		r = cgroup_subdir_open(base_fd, CGROUP_PARENT, &parent_fd);
		if (r >= 0)
			r = make_child(parent_fd, d);
		if (r == -ENOENT || r == -ENODEV)
			continue;
		if (r < 0)
			return r;
		*ret_parent_fd = take_fd(&parent_fd);
		return 0;
	}
	return -EBUSY;
}

/* Moves what runs our program out of base. The number of those moved, or -errno. */
static int move_ours(int base_fd, int keepers_fd)
{
	AUTO_FREE char *list = cgroup_file_slurp(base_fd, "cgroup.procs", PROCS_MAX_BYTES, NULL);
	const char *at = list;
	int moved = 0, r;
	char text[24];
	long pid;

	while (list && (pid = cgroup_parse_pid(&at)) >= 0) {
		if (!cgroup_is_our_program(pid))
			continue;
		snprintf(text, sizeof(text), "%ld", pid);
		r = cgroup_file_write(keepers_fd, "cgroup.procs", text);
		if (r < 0 && r != -ESRCH) /* it has ended */
			return r;
		moved++;
	}
	return moved;
}

/*
 * cleave/ID exists below parent_fd, so both stay. A sandbox is started by two processes, the client
 * and its keeper, and several keepers may start at once: all of them have to go, and whoever comes
 * first takes the others along. The bound is against a crowd that never ends.
 */
static int leave_base(int base_fd, int parent_fd)
{
	AUTO_FD int keepers_fd = -EBADF;
	int r = ensure_dir(parent_fd, CGROUP_KEEPERS);

	if (r >= 0)
		r = cgroup_dir_open(parent_fd, CGROUP_KEEPERS, &keepers_fd);
	if (r < 0)
		return r;
	r = 1;
	for (int i = 0; i < 10 && r > 0; i++)
		r = move_ours(base_fd, keepers_fd);
	return r < 0 ? r : 0;
}

static int enable_v2(const struct cgroup *cg, const struct cgroup_dir *d, int base_fd,
		     int parent_fd, struct err *e)
{
	int r;

	if (cg->keeper_path[0]) {
		r = leave_base(base_fd, parent_fd);
		if (r < 0)
			return err_set(e, ERR_LIMIT, -r, "can't move to cgroup %s",
				       cg->keeper_path);
	}
	r = hand_down(base_fd, d->enable);
	if (r >= 0)
		r = hand_down(parent_fd, d->ctls & CGROUP_V2_CTLS);
	if (r >= 0)
		return 0;
	r = err_set(e, ERR_LIMIT, -r, "can't hand controllers down to cgroup %s", d->path);
	if (r == -EBUSY)
		err_hint(e, "other processes sit beside it; use a cgroup of its own: systemd-run "
			    "--user --scope -p Delegate=yes -- cleave ...");
	return r;
}

/* v1 starts a cpuset with neither processors nor memory, and lets nobody in like that: it gets what
 * the directory above has. */
static int cpuset_fill(int above_fd, int dir_fd)
{
	static const char *const file[] = {"cpuset.cpus", "cpuset.mems"};
	char text[1024];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(file) && r >= 0; i++) {
		r = cgroup_file_read(dir_fd, file[i], text, sizeof(text));
		if (r > 1) /* more than a newline */
			continue;
		if (r >= 0)
			r = cgroup_file_read(above_fd, file[i], text, sizeof(text));
		if (r >= 0)
			r = cgroup_file_write(dir_fd, file[i], text);
	}
	return r < 0 ? r : 0;
}

/* cleave/ID stands, so cleave stays. */
static int cpuset_fill_both(const struct cgroup_dir *d, int parent_fd)
{
	AUTO_FD int base_fd = -EBADF;
	int r = open_above(d->path, 2, &base_fd);

	if (r >= 0)
		r = cpuset_fill(base_fd, parent_fd);
	return r < 0 ? r : cpuset_fill(parent_fd, d->fd);
}

static int create_one(struct cgroup *cg, struct cgroup_dir *d, struct err *e)
{
	AUTO_FD int base_fd = -EBADF;
	AUTO_FD int parent_fd = -EBADF;
	bool hand_down = d->ctls & CGROUP_V2_CTLS && d->version == 2;
	int r = hand_down ? -ENOENT : open_above(d->path, 1, &parent_fd);

	if (r >= 0)
		r = make_child(parent_fd, d);
	if (r == -ENOENT || r == -ENODEV) {
		close_fd(&parent_fd);
		r = open_above(d->path, 2, &base_fd);
		if (r >= 0)
			r = make_dir(base_fd, d, &parent_fd);
	}
	if (r >= 0 && d->version == 1 && d->ctls & CGROUP_BIT(CGROUP_CPUSET))
		r = cpuset_fill_both(d, parent_fd);
	if (r < 0)
		return err_set(e, ERR_LIMIT, -r, "can't make cgroup %s", d->path);
	if (hand_down)
		return enable_v2(cg, d, base_fd, parent_fd, e);
	return 0;
}

static void close_dirs(struct cgroup *cg)
{
	for (int i = 0; i < cg->dir_n; i++)
		close_fd(&cg->dir[i].fd);
}

void cgroup_close(struct cgroup *cg)
{
	close_dirs(cg);
	*cg = CGROUP_INIT;
}

int cgroup_create(struct cgroup *cg, struct err *e)
{
	int r = 0;

	for (int i = 0; i < cg->dir_n && r >= 0; i++)
		r = create_one(cg, &cg->dir[i], e);
	if (r >= 0)
		return 0;
	/* Only what we made has a descriptor. */
	for (int i = 0; i < cg->dir_n; i++)
		if (cg->dir[i].fd >= 0)
			ignore_err(rmdir(cg->dir[i].path), "the first error counts");
	close_dirs(cg);
	return r;
}

int cgroup_join_open(const struct cgroup *cg, struct cgroup_join *ret, struct err *e)
{
	*ret = (struct cgroup_join){.clone_fd = -EBADF};
	for (int i = 0; i < cg->dir_n; i++) {
		const struct cgroup_dir *d = &cg->dir[i];
		int fd;

		if (d->version == 2) {
			ret->clone_fd = d->fd;
			continue;
		}
		fd = openat(d->fd, "tasks", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			int r = err_set(e, ERR_LIMIT, errno, "can't open %s/tasks", d->path);

			cgroup_join_close(ret);
			return r;
		}
		ret->tasks_fd[ret->tasks_n++] = fd;
	}
	return 0;
}

void cgroup_join_close(struct cgroup_join *j)
{
	for (int i = 0; i < j->tasks_n; i++)
		close_fd(&j->tasks_fd[i]);
	*j = (struct cgroup_join){.clone_fd = -EBADF};
}

int cgroup_attach(const struct cgroup *cg, int pid, struct err *e)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	for (int i = 0; i < cg->dir_n; i++) {
		int r = cgroup_file_write(cg->dir[i].fd, "cgroup.procs", text);

		if (r < 0)
			return err_set(e, ERR_LIMIT, -r, "can't move process %d to cgroup %s", pid,
				       cg->dir[i].path);
	}
	return 0;
}

static int remove_sub(const struct cgroup_dir *d, void *arg)
{
	(void)arg;
	ignore_err(rmdir(d->path), "the parent's rmdir tells");
	return 0;
}

/* rmdir answers EBUSY until the last task has left, which the kernel tells on v2 only. */
static int remove_one(const struct cgroup_dir *d, uint64_t deadline_ns, struct err *e)
{
	AUTO_FD int events_fd = -EBADF;
	unsigned round = 0;
	int r;

	for (;;) {
		r = rmdir(d->path) < 0 ? -errno : 0;
		if (!r || r == -ENOENT)
			return 0;
		if (r != -EBUSY)
			break;
		if (d->fd >= 0)
			ignore_err(cgroup_each_sub(d, remove_sub, NULL), "the next round tells");
		if (d->version == 2 && d->fd >= 0 && events_fd < 0)
			events_fd =
				openat(d->fd, "cgroup.events", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (!cgroup_wait(events_fd, deadline_ns, &round))
			break;
	}
	return err_set(e, ERR_HOST, -r, "can't remove cgroup %s", d->path);
}

int cgroup_remove(struct cgroup *cg, uint64_t timeout_ns, struct err *e)
{
	uint64_t deadline_ns = cgroup_now_ns() + timeout_ns;
	int r = 0;

	for (int i = 0; i < cg->dir_n; i++) {
		int one = remove_one(&cg->dir[i], deadline_ns, e);

		if (one < 0 && r == 0)
			r = one;
	}
	cgroup_close(cg);
	return r;
}
