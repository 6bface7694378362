/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image decoder against good and hostile bytes. What it accepts is walked by a reader that
 * follows every reference: under the sanitizers a lie that got through ends the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/image.h"

/* A whole image in memory: header, description; the pages are only counted. */
struct bytes {
	struct image_header header;
	uint64_t *desc;
	uint64_t desc_bytes, file_bytes; /* what was really written */
};

static void *add(struct image_builder *b, enum image_section s)
{
	void *p = image_builder_add(b, s, NULL);

	assert_non_null(p);
	return p;
}

static void file_add(struct image_builder *b, const char *path)
{
	struct image_file *f = add(b, IMAGE_FILE);

	f->mode = 0100755;
	f->size = 8192;
	assert_int_equal(image_builder_bytes(b, path, strlen(path) + 1, &f->path), 0);
}

static void proc_add(struct image_builder *b, int32_t pid, uint32_t parent)
{
	static const uint8_t xstate[2816], auxv[32];
	struct image_proc *p = add(b, IMAGE_PROC);
	struct image_thread *t = add(b, IMAGE_THREAD);
	struct image_map *m;
	struct image_fd *fd;
	struct image_action *a;

	p->pid = p->pgid = p->sid = pid;
	p->parent = parent;
	p->pty = IMAGE_NONE;
	p->exe = 0;
	p->cwd = 1;
	p->threads = (struct image_span){image_builder_count(b, IMAGE_THREAD) - 1, 1};
	p->maps = (struct image_span){image_builder_count(b, IMAGE_MAP), 3};
	p->fds = (struct image_span){image_builder_count(b, IMAGE_FD), 2};
	p->actions = (struct image_span){image_builder_count(b, IMAGE_ACTION), 1};
	p->pendings = (struct image_span){image_builder_count(b, IMAGE_PENDING), 0};
	assert_int_equal(image_builder_bytes(b, auxv, sizeof(auxv), &p->auxv), 0);
	t->tid = pid;
	t->regs.cs = 0x33;
	t->regs.ss = 0x2b;
	t->pendings = p->pendings;
	assert_int_equal(image_builder_bytes(b, xstate, sizeof(xstate), &t->xstate), 0);
	for (uint64_t i = 0; i < 3; i++) {
		uint32_t first = image_builder_count(b, IMAGE_RUN);
		struct image_run *r;

		m = add(b, IMAGE_MAP);
		m->start = 0x400000 + i * 0x10000;
		m->end = m->start + 0x8000;
		m->kind = i == 0 ? IMAGE_MAP_FILE : i == 1 ? IMAGE_MAP_ANON : IMAGE_MAP_VDSO;
		m->file = i == 0 ? 0 : IMAGE_NONE;
		m->prot = 5;
		m->runs = (struct image_span){first, i < 2};
		if (i == 2)
			continue;
		r = add(b, IMAGE_RUN);
		*r = (struct image_run){m->start + 0x1000, m->start + 0x3000,
					IMAGE_PAGE + b->pages_bytes};
		b->pages_bytes += 0x2000;
	}
	for (uint32_t i = 0; i < 2; i++) {
		fd = add(b, IMAGE_FD);
		fd->number = i;
		fd->ofd = i;
	}
	a = add(b, IMAGE_ACTION);
	a->signo = 2;
}

static void good(struct bytes *ret)
{
	struct image_builder b = {0};
	struct image_ofd *o;
	struct image_pipe *p;

	snprintf(b.host.release, sizeof(b.host.release), "6.1");
	snprintf(b.host.version, sizeof(b.host.version), "#1");
	snprintf(b.host.machine, sizeof(b.host.machine), "x86_64");
	file_add(&b, "/usr/bin/python3");
	file_add(&b, "/home/user");
	p = add(&b, IMAGE_PIPE);
	p->capacity = 65536;
	assert_int_equal(image_builder_bytes(&b, "unread", 6, &p->content), 0);
	o = add(&b, IMAGE_OFD);
	o->kind = IMAGE_OFD_PIPE;
	o = add(&b, IMAGE_OFD);
	o->kind = IMAGE_OFD_FILE;
	proc_add(&b, 2, IMAGE_NONE);
	proc_add(&b, 3, 0);
	for (uint32_t i = 0; i < 2; i++) {
		struct image_pty *y = add(&b, IMAGE_PTY);

		y->index = 1 + i;
		y->flags = i ? IMAGE_PTY_MASTER : IMAGE_PTY_KEEPER;
	}
	((struct image_proc *)image_builder_at(&b, IMAGE_PROC, 0))->pty = 0;
	assert_int_equal(image_encode(&b, &ret->header, (void **)&ret->desc), 0);
	ret->desc_bytes = ret->header.desc_bytes;
	ret->file_bytes = ret->header.file_bytes;
	image_builder_done(&b);
}

static int decode(const struct bytes *x, struct image *ret, struct err *e)
{
	return image_decode(&x->header, x->desc, x->header.desc_bytes, x->header.file_bytes, ret,
			    e);
}

static uint64_t sum_bytes(const struct image *im, struct image_ref r)
{
	const uint8_t *p = image_bytes(im, r);
	uint64_t s = 0;

	for (uint64_t i = 0; i < r.bytes; i++)
		s += p[i];
	return s;
}

/* Reads everything that a planner reads, by the references that it follows. */
static uint64_t walk(const struct image *im)
{
	uint64_t s = 0;

	for (uint32_t i = 0; i < im->file_n; i++)
		s += strlen((const char *)image_bytes(im, im->file[i].path));
	for (uint32_t i = 0; i < im->ofd_n; i++) {
		const struct image_ofd *o = &im->ofd[i];

		if (o->kind == IMAGE_OFD_PIPE)
			s += sum_bytes(im, im->pipe[o->ref].content);
		if (o->kind <= IMAGE_OFD_DEV)
			s += im->file[o->ref].size;
	}
	for (uint32_t i = 0; i < im->proc_n; i++) {
		const struct image_proc *p = &im->proc[i];

		if (p->parent != IMAGE_NONE)
			assert_true(p->parent < i);
		if (p->flags & IMAGE_PROC_ZOMBIE)
			continue;
		s += im->file[p->exe].size + im->file[p->cwd].size + sum_bytes(im, p->auxv);
		for (uint32_t k = p->fds.first; k < p->fds.first + p->fds.count; k++)
			s += im->ofd[im->fd[k].ofd].position;
		for (uint32_t k = p->threads.first; k < p->threads.first + p->threads.count; k++)
			s += sum_bytes(im, im->thread[k].xstate);
		for (uint32_t k = p->maps.first; k < p->maps.first + p->maps.count; k++) {
			const struct image_map *m = &im->map[k];

			assert_true(m->start < m->end && m->end <= IMAGE_ADDRESS_END);
			assert_true(m->start >= 65536);
			if (m->kind == IMAGE_MAP_FILE)
				s += im->file[m->file].size;
			for (uint32_t n = m->runs.first; n < m->runs.first + m->runs.count; n++) {
				const struct image_run *r = &im->run[n];

				assert_true(r->start >= m->start && r->end <= m->end);
				if (!r->offset)
					continue; /* a guard region */
				assert_true(r->offset >= im->header->pages_offset);
				assert_true(r->offset + (r->end - r->start) <=
					    im->header->desc_offset);
			}
		}
	}
	return s;
}

static void accepts_what_was_encoded(void **state)
{
	struct err e = ERR_INIT;
	struct bytes x;
	struct image im;

	(void)state;
	good(&x);
	assert_int_equal(decode(&x, &im, &e), 0);
	assert_int_equal(im.proc_n, 2);
	assert_int_equal(im.run_n, 4);
	assert_string_equal((const char *)image_bytes(&im, im.file[0].path), "/usr/bin/python3");
	assert_memory_equal(image_bytes(&im, im.pipe[0].content), "unread", 6);
	walk(&im);
	free(x.desc);
}

#define RECORD(x, im, type, i) ((struct image_##type *)&(im).type[i])

/* One lie at a time; each must be found. */
#define LIE(n, statement)  \
	case n:            \
		statement; \
		break

static bool lie(struct bytes *x, const struct image *im, int n)
{
	struct image_header *h = &x->header;

	switch (n) {
		LIE(0, h->magic++);
		LIE(1, h->version++);
		LIE(2, h->header_bytes--);
		LIE(3, h->file_bytes++);
		LIE(4, h->pages_bytes += 4096);
		LIE(5, h->pages_bytes = UINT64_MAX - 4095);
		LIE(6, h->desc_offset = UINT64_MAX);
		LIE(7, h->desc_bytes = UINT64_MAX);
		LIE(8, h->section[IMAGE_MAP].count = UINT32_MAX);
		LIE(9, h->section[IMAGE_MAP].offset += 8);
		LIE(10, h->section[IMAGE_BYTE].count -= 8);
		LIE(11, h->section[IMAGE_FD].record_bytes = 1);
		LIE(12, memset(h->host.release, 'x', sizeof(h->host.release)));
		LIE(13, RECORD(x, *im, map, 1)->start = 0);
		LIE(14, RECORD(x, *im, map, 1)->start = RECORD(x, *im, map, 0)->start);
		LIE(15, RECORD(x, *im, map, 1)->end = IMAGE_ADDRESS_END + 4096);
		LIE(16, RECORD(x, *im, map, 1)->end += 1);
		LIE(17, RECORD(x, *im, map, 0)->file = 77);
		LIE(18, RECORD(x, *im, map, 0)->file_offset = 1ull << 63);
		LIE(19, RECORD(x, *im, map, 0)->kind = IMAGE_MAP_KIND_N);
		LIE(20, RECORD(x, *im, map, 0)->prot = 8);
		LIE(21, RECORD(x, *im, map, 0)->flags = ~0u);
		LIE(22, RECORD(x, *im, map, 0)->runs.count = 2);
		LIE(23, RECORD(x, *im, run, 0)->offset = 512);
		LIE(24, RECORD(x, *im, run, 0)->offset = h->desc_offset);
		LIE(25, RECORD(x, *im, run, 0)->offset = UINT64_MAX - 4095);
		LIE(26, RECORD(x, *im, run, 0)->end += 0x100000);
		LIE(27, RECORD(x, *im, run, 0)->start -= 0x2000);
		LIE(28, RECORD(x, *im, thread, 1)->tid = 2);
		LIE(29, RECORD(x, *im, thread, 0)->xstate.bytes = 8);
		LIE(30, RECORD(x, *im, thread, 0)->xstate.offset = 1ull << 40);
		LIE(31, RECORD(x, *im, thread, 0)->regs.cs = 0x10);
		LIE(32, RECORD(x, *im, thread, 0)->regs.fs_base = 1ull << 63);
		LIE(33, RECORD(x, *im, thread, 0)->regs.rip = 1ull << 63);
		LIE(34, RECORD(x, *im, thread, 0)->rseq = UINT64_MAX);
		LIE(35, RECORD(x, *im, proc, 0)->pid = 1);
		LIE(36, RECORD(x, *im, proc, 0)->parent = 0);
		LIE(37, RECORD(x, *im, proc, 1)->parent = 1);
		LIE(38, RECORD(x, *im, proc, 0)->exe = 2);
		LIE(39, RECORD(x, *im, proc, 0)->cwd = UINT32_MAX);
		LIE(40, RECORD(x, *im, proc, 0)->auxv.bytes = 1 << 20);
		LIE(41, RECORD(x, *im, proc, 0)->threads.count = 0);
		LIE(42, RECORD(x, *im, proc, 1)->threads.first = 0);
		LIE(43, RECORD(x, *im, proc, 0)->umask = 07777);
		LIE(44, RECORD(x, *im, proc, 0)->flags = IMAGE_PROC_ZOMBIE);
		LIE(45, RECORD(x, *im, fd, 1)->number = 0);
		LIE(46, RECORD(x, *im, fd, 1)->number = IMAGE_MAX_FD);
		LIE(47, RECORD(x, *im, fd, 0)->ofd = 2);
		LIE(48, RECORD(x, *im, ofd, 0)->ref = 1);
		LIE(49, RECORD(x, *im, ofd, 1)->ref = 2);
		LIE(50, RECORD(x, *im, ofd, 0)->kind = IMAGE_OFD_KIND_N);
		LIE(51, RECORD(x, *im, ofd, 0)->watches.count = 1);
		LIE(52, RECORD(x, *im, file, 0)->path.offset = 1 << 20);
		LIE(53, RECORD(x, *im, file, 0)->path.bytes -= 1);
		LIE(54, *(char *)image_bytes(im, im->file[0].path) = 'u');
		LIE(55, RECORD(x, *im, pipe, 0)->content.bytes = 1 << 20);
		LIE(56, RECORD(x, *im, pipe, 0)->capacity = 1);
		LIE(57, RECORD(x, *im, action, 0)->signo = 9);
		LIE(58, RECORD(x, *im, action, 0)->signo = 65);
		LIE(59, RECORD(x, *im, ofd, 0)->status_flags = 3);
		LIE(60, RECORD(x, *im, map, 2)->runs.count = 1);
		LIE(61, RECORD(x, *im, pty, 1)->index = 1);
		LIE(62, RECORD(x, *im, pty, 1)->index = IMAGE_MAX_PTY);
		LIE(63, RECORD(x, *im, pty, 0)->flags = ~0u);
		LIE(64, RECORD(x, *im, pty, 1)->flags = IMAGE_PTY_KEEPER);
		LIE(65, RECORD(x, *im, pty, 0)->flags = IMAGE_PTY_KEEPER | IMAGE_PTY_MASTER);
		LIE(66, RECORD(x, *im, pty, 0)->foreground = -1);
		LIE(67, RECORD(x, *im, proc, 0)->pty = 2);
		LIE(68, RECORD(x, *im, proc, 0)->sid = 3);
		LIE(69, (RECORD(x, *im, ofd, 1)->kind = IMAGE_OFD_PTY,
			 RECORD(x, *im, ofd, 1)->ref = 2));
		LIE(70, (RECORD(x, *im, ofd, 1)->kind = IMAGE_OFD_PTY,
			 RECORD(x, *im, ofd, 1)->value = 1));
	default:
		return false;
	}
	return true;
}

static void refuses_every_lie(void **state)
{
	(void)state;
	for (int n = 0;; n++) {
		struct err e = ERR_INIT;
		struct bytes x;
		struct image im;
		bool told;

		good(&x);
		assert_int_equal(decode(&x, &im, &e), 0);
		told = lie(&x, &im, n);
		if (told && decode(&x, &im, &e) == 0)
			fail_msg("lie %d was believed", n);
		if (told)
			assert_int_equal(e.id, ERR_IMAGE);
		free(x.desc);
		if (!told)
			break;
	}
}

static uint64_t seed = 88172645463325252u;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Random damage: refused, or harmless to a reader that believes it. */
static void survives_damage(void **state)
{
	int accepted = 0;

	(void)state;
	for (int n = 0; n < 20000; n++) {
		struct err e = ERR_INIT;
		struct bytes x;
		struct image im;
		int times = 1 + (int)(next() % 4);

		good(&x);
		while (times--) {
			size_t at = next() % (sizeof(x.header) + x.desc_bytes);
			uint8_t value = next() % 3 ? (uint8_t)next() : 0xff;

			if (at < sizeof(x.header))
				((uint8_t *)&x.header)[at] = value;
			else
				((uint8_t *)x.desc)[at - sizeof(x.header)] = value;
		}
		if (decode(&x, &im, &e) == 0) {
			walk(&im);
			accepted++;
		}
		free(x.desc);
	}
	assert_in_range(accepted, 1, 19999);
}

static void refuses_another_host(void **state)
{
	struct image_host a = {.release = "6.1",
			       .version = "#1",
			       .machine = "x86_64",
			       .xstate_features = 7,
			       .xstate_bytes = 832},
			  b = a;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(image_host_check(&a, &b, &e), 0);
	b.xstate_features = 3;
	assert_int_not_equal(image_host_check(&a, &b, &e), 0);
	b = a;
	b.release[2] = '8';
	e = ERR_INIT;
	assert_int_not_equal(image_host_check(&a, &b, &e), 0);
	assert_int_equal(e.id, ERR_IMAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_was_encoded),
		cmocka_unit_test(refuses_every_lie),
		cmocka_unit_test(survives_damage),
		cmocka_unit_test(refuses_another_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
