/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row DESCRIPTORS: every descriptor of every process by the kind of its object. The kinds known are
 * the ones in record(): anything else refuses the fork by name. Descriptions that are shared (dup,
 * fork, passed by a socket) are recognised with kcmp and stay shared in the clone.
 */
#include "fork/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/carriers.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define F_SEAL_FUTURE_WRITE_ 16u
#define CLOEXEC 02000000u
#define ASYNC 020000u

const char *fdinfo_find(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *s = text; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (!strncmp(s, key, n) && s[n] == ':')
			return s + n + 1;
		if (!*s)
			break;
	}
	return NULL;
}

int stdio_find(const struct harvest *h, uint64_t dev, uint64_t ino)
{
	for (size_t i = 0; i < h->src->n_stdio; i++)
		if (h->src->stdio[i].dev == dev && h->src->stdio[i].ino == ino)
			return h->src->stdio[i].which;
	return -1;
}

/* Character devices without state, the same in every sandbox. */
static const struct {
	unsigned major, minor;
	const char *path;
} devices[] = {
	{1, 3, "/dev/null"},   {1, 5, "/dev/zero"},    {1, 7, "/dev/full"},
	{1, 8, "/dev/random"}, {1, 9, "/dev/urandom"},
};

static int device_record(struct harvest *h, const struct open_file *f, const struct stat *st,
			 uint32_t *ret, struct err *e)
{
	size_t i = 0;
	struct image_file *x;

	while (i < ARRAY_LEN(devices) && makedev(devices[i].major, devices[i].minor) != st->st_rdev)
		i++;
	if (i == ARRAY_LEN(devices))
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is the device %s", f->inside_pid,
		       f->fd, f->target);
	x = image_builder_add(&h->b, IMAGE_FILE, ret);
	if (!x ||
	    image_builder_bytes(&h->b, devices[i].path, strlen(devices[i].path) + 1, &x->path))
		REFUSE(e, ENOMEM, "describe %s", devices[i].path);
	x->mode = S_IFCHR;
	x->size = devices[i].major << 20 | devices[i].minor;
	return 0;
}

static int path_record(struct harvest *h, struct open_table *t, uint32_t index, const char *target,
		       const struct stat *st, struct err *e)
{
	struct open_file *f = &t->file[index];
	struct statfs fs;
	char name[48];
	uint32_t ref = IMAGE_NONE;
	int r;

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", f->pid, f->fd);
	if (S_ISCHR(st->st_mode) && pty_is(st->st_rdev))
		return pty_add(h, t, index, st, e);
	if (S_ISCHR(st->st_mode)) {
		r = device_record(h, f, st, &ref, e);
		if (r < 0)
			return r;
		ofd_at(h, f->ofd)->kind = IMAGE_OFD_DEV;
		ofd_at(h, f->ofd)->ref = ref;
		return 0;
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is %s %s", f->inside_pid, f->fd,
		       S_ISFIFO(st->st_mode) ? "the named pipe" : "of an unknown kind:", f->target);
	if (statfs(name, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is %s", f->inside_pid, f->fd,
		       f->target);
	r = harvest_file(h, f->pid, target, st, &ref, e);
	if (r == -ENOENT && S_ISREG(st->st_mode)) {
		r = shared_fd(h, f->pid, f->fd, f->inside_pid, target, &ref, e);
		ofd_at(h, f->ofd)->kind = IMAGE_OFD_SHARED;
		ofd_at(h, f->ofd)->ref = ref;
		return r;
	}
	if (r == -ENOENT)
		REFUSE(e, ENOENT, "process %d: descriptor %d is a directory without a name (%s)",
		       f->inside_pid, f->fd, f->target);
	if (r < 0)
		return r;
	ofd_at(h, f->ofd)->kind = S_ISDIR(st->st_mode) ? IMAGE_OFD_DIR : IMAGE_OFD_FILE;
	ofd_at(h, f->ofd)->ref = ref;
	return 0;
}

static int record(struct harvest *h, struct open_table *t, uint32_t index, const char *target,
		  const struct stat *st, const char *fdinfo, struct err *e)
{
	struct open_file *f = &t->file[index];

	if (target[0] == '/')
		return path_record(h, t, index, target, st, e);
	if (!strncmp(target, "pipe:", 5))
		return pipe_add(h, t, index, e);
	if (!strncmp(target, "socket:", 7))
		return socket_add(h, t, index, e);
	if (!strncmp(target, "anon_inode:", 11))
		return anon_record(h, t, index, target + 11, fdinfo, e);
	REFUSE(e, ENOTSUP, "process %d: descriptor %d is of an unknown kind: %s", f->inside_pid,
	       f->fd, f->target);
}

static struct open_file *file_add(struct open_table *t, uint32_t place)
{
	if (t->n_files == t->room_files) {
		uint32_t room = t->room_files ? t->room_files * 2 : 64;
		struct open_file *p = realloc(t->file, room * sizeof(*p));

		uint32_t *v = realloc(t->sorted, room * sizeof(*v));

		if (p)
			t->file = p;
		if (v)
			t->sorted = v;
		if (!p || !v)
			return NULL;
		t->room_files = room;
	}
	memmove(t->sorted + place + 1, t->sorted + place,
		(t->n_files - place) * sizeof(*t->sorted));
	t->sorted[place] = t->n_files;
	t->file[t->n_files] = (struct open_file){.stdio = -1, .ofd = IMAGE_NONE};
	return &t->file[t->n_files++];
}

/* State of the walk through one process. */
struct walk {
	struct harvest *h;
	struct open_table *t;
	const struct captive *c;
	int inside_pid;
	struct err *e;
	int fds[1024];
	uint32_t n;
};

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* kcmp orders descriptions in a way that means nothing but is the same for a whole capture. */
static int compare(const struct walk *w, int fd, const struct stat *st, const struct open_file *f)
{
	int r = order(st->st_dev, f->dev);
	long k;

	if (!r)
		r = order(st->st_ino, f->ino);
	if (r)
		return r;
	k = syscall(SYS_kcmp, w->c->pid, f->pid, KCMP_FILE, fd, f->fd);
	return k == 1 ? -1 : k == 2 ? 1 : 0;
}

/* The description that was met before, or IMAGE_NONE and where it belongs in the sorted list. */
static uint32_t shared_find(struct walk *w, int fd, const struct stat *st, uint32_t *ret_place)
{
	uint32_t low = 0, high = w->t->n_files;

	if (carrier_off(CARRIER_FD_SHARED) && S_ISREG(st->st_mode))
		low = high;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int r = compare(w, fd, st, &w->t->file[w->t->sorted[middle]]);

		if (r == 0)
			return w->t->sorted[middle];
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	*ret_place = low;
	return IMAGE_NONE;
}

static int new_file(struct walk *w, int fd, const struct stat *st, uint64_t flags, uint64_t pos,
		    uint32_t place, uint32_t *ret)
{
	char name[48], target[4096];
	struct open_file *f = file_add(w->t, place);
	struct image_ofd *o;
	ssize_t n;

	if (!f)
		REFUSE(w->e, ENOMEM, "describe process %d", w->inside_pid);
	snprintf(name, sizeof(name), "/proc/%d/fd/%d", w->c->pid, fd);
	n = readlink(name, target, sizeof(target) - 1);
	if (n < 0)
		REFUSE(w->e, errno, "read descriptor %d of process %d", fd, w->inside_pid);
	target[n] = 0;
	f->pid = w->c->pid;
	f->fd = fd;
	f->inside_pid = w->inside_pid;
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	snprintf(f->target, sizeof(f->target), "%.255s", target);
	o = image_builder_add(&w->h->b, IMAGE_OFD, &f->ofd);
	if (!o)
		REFUSE(w->e, ENOMEM, "describe process %d", w->inside_pid);
	o->status_flags = (uint32_t)flags & ~CLOEXEC;
	o->position = pos;
	*ret = w->t->n_files - 1;
	if (flags & ASYNC)
		REFUSE(w->e, ENOTSUP, "process %d: descriptor %d (%s) sends signals (O_ASYNC)",
		       w->inside_pid, fd, f->target);
	return record(w->h, w->t, *ret, target, st, w->h->text.p, w->e);
}

static int descriptor(struct walk *w, int fd)
{
	char name[48];
	const char *flags, *pos;
	struct image_fd *x;
	struct stat st;
	uint32_t index, place = 0;
	uint64_t bits;
	bool locked;
	int r;

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", w->c->pid, fd);
	if (stat(name, &st))
		REFUSE(w->e, errno, "read descriptor %d of process %d", fd, w->inside_pid);
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	r = proc_read(&w->h->text, w->c->pid, name);
	flags = r < 0 ? NULL : fdinfo_find(w->h->text.p, "flags");
	pos = r < 0 ? NULL : fdinfo_find(w->h->text.p, "pos");
	if (!flags || !pos)
		REFUSE(w->e, r, "read descriptor %d of process %d", fd, w->inside_pid);
	bits = strtoull(flags, NULL, 8);
	locked = fdinfo_find(w->h->text.p, "lock"); /* by this process or the description */
	index = shared_find(w, fd, &st, &place);
	if (index == IMAGE_NONE) {
		r = new_file(w, fd, &st, bits, strtoull(pos, NULL, 10), place, &index);
		if (r < 0)
			return r;
	}
	if (locked)
		REFUSE(w->e, ENOTSUP, "process %d: descriptor %d (%s) holds a lock", w->inside_pid,
		       fd, w->t->file[index].target);
	if (fd < 3 && (w->t->file[index].stdio < 0 || fd < w->t->file[index].stdio))
		w->t->file[index].stdio = fd;
	x = image_builder_add(&w->h->b, IMAGE_FD, NULL);
	if (!x)
		REFUSE(w->e, ENOMEM, "describe process %d", w->inside_pid);
	x->number = (uint32_t)fd;
	x->ofd = w->t->file[index].ofd;
	x->cloexec = bits & CLOEXEC && !(fd < 3 && pty_hides_cloexec(w->h, w->t, index));
	return 0;
}

static int collect(void *arg, int fd)
{
	struct walk *w = arg;

	if (w->n == ARRAY_LEN(w->fds))
		REFUSE(w->e, E2BIG, "process %d has more than %zu descriptors", w->inside_pid,
		       ARRAY_LEN(w->fds));
	w->fds[w->n++] = fd;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int process_descriptors(struct harvest *h, struct open_table *t, struct captive *c,
			       struct err *e)
{
	uint32_t first = image_builder_count(&h->b, IMAGE_FD);
	struct walk w = {.h = h, .t = t, .c = c, .e = e, .inside_pid = harvest_proc(h, c)->pid};
	int r = proc_each(c->pid, "fd", collect, &w);

	if (r < 0)
		return err_set(e, ERR_UNFORKABLE, -r, "list the descriptors of process %d",
			       w.inside_pid);
	qsort(w.fds, w.n, sizeof(w.fds[0]), by_number);
	for (uint32_t i = 0; r == 0 && i < w.n; i++)
		r = descriptor(&w, w.fds[i]);
	for (uint32_t i = 1; r == 0 && i < c->n; i++)
		if (syscall(SYS_kcmp, c->pid, h->tracee[c->first + i].tid, KCMP_FILES, 0, 0) ||
		    syscall(SYS_kcmp, c->pid, h->tracee[c->first + i].tid, KCMP_FS, 0, 0))
			REFUSE(e, ENOTSUP, "thread %d has descriptors or a directory of its own",
			       h->tracee[c->first + i].status.ns_pid);
	harvest_proc(h, c)->fds = (struct image_span){first, w.n};
	h->cap->descriptors += w.n;
	return r;
}

static int compare_kind;

static int by_kcmp(const void *a, const void *b)
{
	const struct captive *const *x = a, *const *y = b;
	long r = syscall(SYS_kcmp, (*x)->pid, (*y)->pid, compare_kind, 0, 0);

	return r == 1 ? -1 : r == 2 ? 1 : 0;
}

/* Processes that share memory or descriptors (clone without CLONE_THREAD, vfork in flight). */
static int apart_check(struct harvest *h, int kind, const char *what, struct err *e)
{
	const struct captive **v = calloc(h->n_captives, sizeof(*v));
	int r = 0;

	if (!v)
		REFUSE(e, ENOMEM, "compare the processes");
	for (uint32_t i = 0; i < h->n_captives; i++)
		v[i] = &h->captive[i];
	compare_kind = kind;
	qsort(v, h->n_captives, sizeof(*v), by_kcmp);
	for (uint32_t i = 1; r == 0 && i < h->n_captives; i++)
		if (syscall(SYS_kcmp, v[i - 1]->pid, v[i]->pid, kind, 0, 0) == 0)
			r = err_set(e, ERR_UNFORKABLE, EBUSY, "processes %d and %d share their %s",
				    harvest_proc(h, v[i - 1])->pid, harvest_proc(h, v[i])->pid,
				    what);
	free(v);
	return r;
}

/* F_SEAL_FUTURE_WRITE leaves alone what could write before; nobody can map it so again. The seals
 * are known when the descriptors are. */
static int seals_check(struct harvest *h, const struct captive *c, struct err *e)
{
	const struct image_proc *p = harvest_proc(h, c);

	for (uint32_t i = p->maps.first; i < p->maps.first + p->maps.count; i++) {
		const struct image_map *m = image_builder_at(&h->b, IMAGE_MAP, i);
		const struct image_shared *s;

		if (m->kind != IMAGE_MAP_SHMEM || !(m->prot & PROT_WRITE))
			continue;
		s = image_builder_at(&h->b, IMAGE_SHARED, m->file);
		if (s->seals & F_SEAL_FUTURE_WRITE_)
			REFUSE(e, ENOTSUP,
			       "process %d: mapping %llx can write to a memfd that is sealed "
			       "against it "
			       "(F_SEAL_FUTURE_WRITE)",
			       p->pid, (unsigned long long)m->start);
	}
	return 0;
}

int row_descriptors(struct harvest *h, struct err *e)
{
	struct open_table *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		REFUSE(e, ENOMEM, "list the descriptors");
	h->descriptors = t;
	r = apart_check(h, KCMP_VM, "memory", e);
	if (r == 0)
		r = apart_check(h, KCMP_FILES, "descriptors", e);
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++)
		r = process_descriptors(h, t, &h->captive[i], e);
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++)
		r = seals_check(h, &h->captive[i], e);
	if (r == 0)
		r = pipes_settle(h, t, e);
	if (r == 0)
		r = sockets_settle(h, t, e);
	if (r == 0)
		r = ptys_settle(h, t, e);
	if (r == 0)
		r = events_settle(h, t, e);
	return r;
}

void descriptors_done(struct harvest *h)
{
	struct open_table *t = h->descriptors;

	if (!t)
		return;
	free(t->file);
	free(t->sorted);
	free(t->pipe);
	free(t);
	h->descriptors = NULL;
}
