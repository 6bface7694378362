/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row MAPPINGS: every mapping of every process, its flags by allowlist, and exe, cwd.
 *
 * A private mapping whose file can't be named any more (deleted, replaced, a memfd, an image of an
 * earlier fork) is carried as anonymous memory: all its pages are copied in row PAGES.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/arch/hosted.h"
#include "fork/carriers.h"
#include "fork/harvest.h"

enum meaning {
	PLAIN = 0,    /* says nothing that prot and kind don't say */
	OWN = 0x8000, /* only on the kernel's own mappings */
	REFUSED = 0x10000,
};

/* VmFlags by allowlist (fs/proc/task_mmu.c): IMAGE_MAP_* that carries it, or one of the above. */
static const struct {
	char name[3];
	uint32_t flag;
	const char *what;
} vmflags[] = {
	{"rd", PLAIN, ""},
	{"wr", PLAIN, ""},
	{"ex", PLAIN, ""},
	{"mr", PLAIN, ""},
	{"mw", PLAIN, ""},
	{"me", PLAIN, ""},
	{"ms", PLAIN, ""},
	{"gd", PLAIN, ""},
	{"ac", PLAIN, ""},
	{"sd", PLAIN, ""},
	{"gu", PLAIN, ""}, /* guard regions: the scan of its pages finds them */
	{"dc", OWN, "may not be copied by fork"},
	{"nr", IMAGE_MAP_NORESERVE, ""},
	{"wf", IMAGE_MAP_WIPEONFORK, ""},
	{"dp", IMAGE_MAP_DROPPABLE, ""},
	{"hg", IMAGE_MAP_HUGE, ""},
	{"nh", IMAGE_MAP_NOHUGE, ""},
	{"dd", IMAGE_MAP_DONTDUMP, ""},
	{"sr", IMAGE_MAP_SEQUENTIAL, ""},
	{"rr", IMAGE_MAP_RANDOM, ""},
	{"mg", IMAGE_MAP_MERGEABLE, ""},
	{"de", OWN, "may not be expanded"},
	{"io", OWN, "is a device's memory"},
	{"pf", OWN, "is a device's memory"},
	{"mm", OWN, "is a device's memory"},
	{"sl", OWN, "is sealed (mseal)"},
	{"lo", REFUSED, "is locked (mlock)"},
	{"ht", REFUSED, "uses huge pages of hugetlbfs"},
	{"um", REFUSED, "is watched by userfaultfd"},
	{"uw", REFUSED, "is watched by userfaultfd"},
	{"ui", REFUSED, "is watched by userfaultfd"},
	{"ss", REFUSED, "is a shadow stack"},
	{"sh", REFUSED, "is shared and writable"},
};

static const char *map_name(const struct proc_map *m)
{
	return m->path[0] ? m->path : "anonymous memory";
}

static int flags_check(const struct captive *c, int pid, const struct proc_map *m, bool own,
		       uint32_t *ret, struct err *e)
{
	bool guarded = false;

	ignore_err(c, "named by the pid inside");
	*ret = 0;
	for (uint32_t i = 0; i < m->n_vmflags; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(vmflags) && strcmp(vmflags[k].name, m->vmflags[i]))
			k++;
		if (k == ARRAY_LEN(vmflags))
			REFUSE(e, ENOTSUP, "process %d: mapping %llx (%s) has the unknown flag %s",
			       pid, (unsigned long long)m->start, map_name(m), m->vmflags[i]);
		if (own)
			continue;
		guarded |= !strcmp(m->vmflags[i], "gu");
		if (!strcmp(m->vmflags[i], "dc")) {
			*ret |= IMAGE_MAP_DONTFORK;
			continue;
		}
		if (!strcmp(m->vmflags[i], "sh") && m->flags & PROC_MAP_SHARED)
			continue; /* what is shared decides */
		if (vmflags[k].flag & (OWN | REFUSED))
			REFUSE(e, ENOTSUP, "process %d: mapping %llx (%s) %s", pid,
			       (unsigned long long)m->start, map_name(m), vmflags[k].what);
		*ret |= vmflags[k].flag;
	}
	if (guarded &&
	    (m->flags & PROC_MAP_SHARED || *ret & (IMAGE_MAP_WIPEONFORK | IMAGE_MAP_DROPPABLE)))
		REFUSE(e, ENOTSUP, "process %d: mapping %llx (%s) has guard regions", pid,
		       (unsigned long long)m->start, map_name(m));
	if (carrier_off(CARRIER_MEM_WIPE))
		*ret &= ~(uint32_t)(IMAGE_MAP_WIPEONFORK | IMAGE_MAP_DROPPABLE);
	return 0;
}

#define LEAVE_TIMEOUT_NS 5000000000ull /* its gate may not have been opened yet */

static bool kernel_kind(const struct proc_map *m, uint32_t *ret)
{
	if (!strcmp(m->path, "[vdso]"))
		*ret = IMAGE_MAP_VDSO;
	else if (!strcmp(m->path, "[vvar]") || !strcmp(m->path, "[vvar_vclock]"))
		*ret = IMAGE_MAP_VVAR;
	else
		return false;
	return true;
}

/* What stays behind of the restorer in a clone: nobody's, it is not carried on. */
static bool leftover(const struct proc_map *m)
{
	static const char name[] = "/memfd:" RESTORE_NAME " (deleted)";

	return !strcmp(m->path, name) && !(m->prot & PROT_WRITE) && !(m->flags & PROC_MAP_SHARED);
}

static bool runs_in(const struct harvest *h, const struct captive *c, const struct proc_map *m)
{
	for (uint32_t i = 0; i < c->n; i++) {
		const struct tracee *t = &h->tracee[c->first + i];

		if (t->regs.rip >= m->start && t->regs.rip < m->end)
			return true;
	}
	return false;
}

/*
 * A clone that was let go this very moment: its tasks are led out of the restorer, which lies at
 * the same place in all of them, and the capture begins anew. Waiting would not do: a clone that
 * was paused meanwhile stands there until somebody resumes it.
 */
static int lead_out(struct harvest *h, const struct proc_map *m, int pid, struct err *e)
{
	/* for all together: anybody can make a mapping that is called so */
	uint64_t deadline = fork_now_ns() + LEAVE_TIMEOUT_NS;
	int r = 0;

	h->leaving = true;
	for (uint32_t i = 0; r == 0 && i < h->n_tracees; i++) {
		struct tracee *t = &h->tracee[i];

		if (t->state == TRACEE_STOPPED && t->regs.rip >= m->start && t->regs.rip < m->end)
			r = tracee_leave(h, t, m->start, m->end, deadline);
	}
	if (r < 0)
		REFUSE(e, r, "wait until process %d is rebuilt", pid);
	REFUSE(e, EAGAIN, "process %d is still being rebuilt", pid);
}

static bool may_write(const struct proc_map *m)
{
	for (uint32_t i = 0; i < m->n_vmflags; i++)
		if (!strcmp(m->vmflags[i], "mw"))
			return true;
	return false;
}

static int file_map(struct harvest *h, const struct captive *c, const struct proc_map *m,
		    struct image_map *x, int pid, struct err *e)
{
	struct stat want = {.st_dev = makedev(m->major, m->minor), .st_ino = m->ino};
	uint32_t file;
	int r = m->path[0] == '/' ? harvest_file(h, c->pid, m->path, &want, &file, e) : -ENOENT;

	if (r == 0) {
		const struct image_file *f = image_builder_at(&h->b, IMAGE_FILE, file);

		if (!S_ISREG(f->mode))
			REFUSE(e, ENOTSUP, "process %d maps the device %s", pid, m->path);
		x->kind = IMAGE_MAP_FILE;
		x->file = file;
		x->file_offset = m->offset;
		if (m->flags & PROC_MAP_SHARED)
			x->flags |= IMAGE_MAP_SHARED | (may_write(m) ? IMAGE_MAP_WRITABLE : 0);
		return 0;
	}
	if (r != -ENOENT)
		return r;
	if (m->flags & PROC_MAP_SHARED)
		return shared_map(h, c, m, pid, x, e);
	x->kind = IMAGE_MAP_ANON;
	return 0;
}

/* Memory that an earlier fork cut into pieces (each run of pages is a mapping of its image) becomes
 * one again: the number of mappings must not grow with every generation. */
static bool extends(struct harvest *h, uint32_t first, const struct image_map *x, uint32_t *ret)
{
	uint32_t n = image_builder_count(&h->b, IMAGE_MAP);
	struct image_map *last = n > first ? image_builder_at(&h->b, IMAGE_MAP, n - 1) : NULL;

	if (!last || last->kind != IMAGE_MAP_ANON || x->kind != IMAGE_MAP_ANON ||
	    last->end != x->start || last->prot != x->prot || last->flags != x->flags)
		return false;
	last->end = x->end;
	*ret = n - 1;
	return true;
}

static int map_record(struct harvest *h, struct captive *c, struct proc_map *m, int pid,
		      uint32_t first, struct err *e)
{
	struct image_map x = {
		.start = m->start, .end = m->end, .prot = m->prot, .file = IMAGE_NONE};
	struct image_map *to;
	bool own = kernel_kind(m, &x.kind);
	int r;

	if (leftover(m) && runs_in(h, c, m))
		return lead_out(h, m, pid, e);
	if (m->end > IMAGE_ADDRESS_END || leftover(m)) {
		m->flags |= PROC_MAP_SKIP; /* [vsyscall] is nobody's */
		return 0;
	}
	r = flags_check(c, pid, m, own, &x.flags, e);
	if (r < 0)
		return r;
	/* The kernel itself keeps code that may only be executed from being read by a key. */
	if (m->key && m->prot != PROT_EXEC)
		REFUSE(e, ENOTSUP, "process %d: mapping %llx (%s) has a protection key", pid,
		       (unsigned long long)m->start, map_name(m));
	if (own) {
		if (x.kind == IMAGE_MAP_VDSO)
			h->b.host.vdso_bytes = (uint32_t)(m->end - m->start);
	} else if (m->ino) {
		r = file_map(h, c, m, &x, pid, e);
		if (r < 0)
			return r;
	} else if (m->path[0] && strcmp(m->path, "[heap]") && strncmp(m->path, "[stack", 6) &&
		   strncmp(m->path, "[anon:", 6)) {
		REFUSE(e, ENOTSUP, "process %d: mapping %llx (%s) is of an unknown kind", pid,
		       (unsigned long long)m->start, m->path);
	} else if (m->flags & PROC_MAP_SHARED) {
		REFUSE(e, ENOTSUP, "process %d: mapping %llx is shared memory", pid,
		       (unsigned long long)m->start);
	} else {
		x.kind = m->flags & PROC_MAP_STACK ? IMAGE_MAP_STACK : IMAGE_MAP_ANON;
	}
	if (x.flags & (IMAGE_MAP_WIPEONFORK | IMAGE_MAP_DROPPABLE) &&
	    note_add(&h->cap->recreated, "mem-wipe: %llu bytes at %llx of process %d begin as zero",
		     (unsigned long long)(m->end - m->start), (unsigned long long)m->start,
		     pid) < 0)
		REFUSE(e, ENOMEM, "describe process %d", pid);
	if (extends(h, first, &x, &m->index))
		return 0;
	to = image_builder_add(&h->b, IMAGE_MAP, &m->index);
	if (!to)
		REFUSE(e, ENOMEM, "describe process %d", pid);
	*to = x;
	return 0;
}

/* A syscall instruction to run on: the vdso has some. */
static int syscall_find(struct captive *c, const struct proc_map *m, int pid, struct err *e)
{
	uint8_t code[16384];
	uint64_t n = m->end - m->start;
	long at;
	int r;

	if (n > sizeof(code))
		n = sizeof(code);
	r = tracee_read(c->pid, m->start, code, n);
	if (r < 0 && r != -EFAULT)
		REFUSE(e, r, "read the memory of process %d", pid);
	at = r < 0 ? -1 : arch_syscall_find(code, n);
	if (at < 0)
		REFUSE(e, EFAULT, "process %d has damaged its vdso", pid);
	c->syscall_at = m->start + (uint64_t)at;
	return 0;
}

static int link_record(struct harvest *h, const struct captive *c, const char *what, int pid,
		       uint32_t *ret, struct err *e)
{
	char name[48], path[4096];
	struct stat st;
	ssize_t n;
	int r;

	snprintf(name, sizeof(name), "/proc/%d/%s", c->pid, what);
	n = readlink(name, path, sizeof(path) - 1);
	if (n < 0 || stat(name, &st))
		REFUSE(e, errno, "read the %s of process %d", what, pid);
	path[n] = 0;
	r = harvest_file(h, c->pid, path, &st, ret, e);
	if (r == -ENOENT)
		REFUSE(e, ENOENT, "the %s of process %d (%s) is gone", what, pid, path);
	return r;
}

static int process_maps(struct harvest *h, struct captive *c, struct err *e)
{
	int pid = harvest_proc(h, c)->pid;
	struct proc_text smaps = {0};
	uint32_t first = image_builder_count(&h->b, IMAGE_MAP), exe, cwd;
	int r = proc_read(&smaps, c->pid, "smaps");

	if (r == 0)
		r = proc_smaps_parse(smaps.p, &c->maps, &c->n_maps);
	if (r < 0)
		err_set(e, ERR_UNFORKABLE, -r, "read the mappings of process %d", pid);
	for (size_t i = 0; r == 0 && i < c->n_maps; i++) {
		r = map_record(h, c, &c->maps[i], pid, first, e);
		if (r == 0 && !strcmp(c->maps[i].path, "[vdso]"))
			r = syscall_find(c, &c->maps[i], pid, e);
	}
	for (size_t i = 0; i < c->n_maps; i++)
		c->maps[i].path = NULL; /* the text goes */
	proc_text_done(&smaps);
	if (r == 0 && !c->syscall_at)
		r = err_set(e, ERR_UNFORKABLE, EFAULT, "process %d has unmapped its vdso", pid);
	if (r == 0)
		r = link_record(h, c, "exe", pid, &exe, e);
	if (r == 0)
		r = link_record(h, c, "cwd", pid, &cwd, e);
	if (r < 0)
		return r;
	harvest_proc(h, c)->maps =
		(struct image_span){first, image_builder_count(&h->b, IMAGE_MAP) - first};
	harvest_proc(h, c)->exe = exe;
	harvest_proc(h, c)->cwd = cwd;
	h->cap->maps += (uint32_t)c->n_maps;
	return 0;
}

int row_mappings(struct harvest *h, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++)
		r = process_maps(h, &h->captive[i], e);
	return r;
}
