/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as it was written once, in the repository: today's code reads it as what it was, and
 * writes the very same bytes. Every field of every record has a value of its own, so that a field
 * which moved, changed its size or its place with another is seen. Who changes the format on
 * purpose raises IMAGE_VERSION and writes the file of the new version:
 *
 *   build/tests/unit/unit-image_golden --write tests/unit/golden/image-vVERSION
 *
 * The files of other versions stay: they must be refused.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fork/fork.h"
#include "image/image.h"

#define PAGES 4
#define FILE_MAX (256 << 10)

struct whole {
	struct image_header header;
	uint8_t *bytes; /* of the file */
	size_t size;
};

static void *add(struct image_builder *b, enum image_section s)
{
	void *p = image_builder_add(b, s, NULL);

	assert_non_null(p);
	return p;
}

/* An add that copies a record, written by field names. */
#define ADD(b, SECTION, type, ...) \
	(*(struct image_##type *)add((b), IMAGE_##SECTION) = (struct image_##type){__VA_ARGS__})

static struct image_ref bytes(struct image_builder *b, const void *p, size_t n)
{
	struct image_ref r;

	assert_int_equal(image_builder_bytes(b, p, n, &r), 0);
	return r;
}

static struct image_ref text(struct image_builder *b, const char *s)
{
	return bytes(b, s, strlen(s) + 1);
}

static void files(struct image_builder *b)
{
	struct image_ref program = text(b, "/usr/bin/program"), home = text(b, "/home/user");
	struct image_ref data = text(b, "/home/user/data");

	ADD(b, FILE, file, .path = program, .dev = 101, .ino = 102, .size = 103, .mtime_ns = 104,
	    .ctime_ns = 105, .mode = 0100755);
	ADD(b, FILE, file, .path = home, .dev = 111, .ino = 112, .size = 113, .mtime_ns = -114,
	    .ctime_ns = -115, .mode = 0040700, .flags = IMAGE_FILE_CARRIED);
	ADD(b, FILE, file, .path = data, .dev = 121, .ino = 122, .size = 123, .mtime_ns = 124,
	    .ctime_ns = 125, .mode = 0100600, .flags = IMAGE_FILE_CARRIED);
}

static void objects(struct image_builder *b)
{
	static const uint8_t queue[] = {3, 0, 0, 0, 'a', 'b', 'c'};

	ADD(b, PIPE, pipe, .capacity = 65536, .content = text(b, "unread"));
	ADD(b, SOCKET, socket, .type = 1, .peer = 1, .sndbuf = 4001, .rcvbuf = 4002, .shutdown = 1,
	    .passcred = 1, .content = bytes(b, queue, sizeof(queue)));
	ADD(b, SOCKET, socket, .type = 1, .peer = 0, .sndbuf = 4003, .rcvbuf = 4004, .shutdown = 2);
	/* kinds in the order of enum image_ofd_kind */
	ADD(b, OFD, ofd, IMAGE_OFD_FILE, 2, .status_flags = 0102002, .position = 7);
	ADD(b, OFD, ofd, IMAGE_OFD_DIR, 1, .status_flags = 0200000, .position = 8);
	ADD(b, OFD, ofd, IMAGE_OFD_DEV, 0, .status_flags = 2);
	ADD(b, OFD, ofd, IMAGE_OFD_PIPE, 0, .status_flags = 1);
	ADD(b, OFD, ofd, IMAGE_OFD_STDIO, 1, .status_flags = 1);
	ADD(b, OFD, ofd, IMAGE_OFD_EVENT, 1, .status_flags = 2, .value = 42);
	ADD(b, OFD, ofd, IMAGE_OFD_EPOLL, 0, .status_flags = 2, .watches = {0, 1});
	ADD(b, OFD, ofd, IMAGE_OFD_TIMER, 1, .status_flags = 2, .value = 5001, .interval = 5002);
	ADD(b, OFD, ofd, IMAGE_OFD_SIGNAL, 0, .status_flags = 2, .value = 0x4002);
	ADD(b, OFD, ofd, IMAGE_OFD_SOCKET, 0, .status_flags = 2);
	ADD(b, OFD, ofd, IMAGE_OFD_PIDFD, 7, .status_flags = 2);
	ADD(b, OFD, ofd, IMAGE_OFD_SHARED, 0, .status_flags = 2, .position = 9, .value = 1);
	ADD(b, OFD, ofd, IMAGE_OFD_PTY, 1, .status_flags = 02, .value = 1);
	ADD(b, PTY, pty, .index = 2, .flags = IMAGE_PTY_KEEPER, .foreground = 81,
	    .size = {82, 83, 84, 85});
	ADD(b, PTY, pty, .index = 5, .flags = IMAGE_PTY_MASTER | IMAGE_PTY_PACKET);
	for (uint32_t i = 0; i < 2; i++) {
		struct image_pty *p = image_builder_at(b, IMAGE_PTY, i);

		for (size_t k = 0; k < sizeof(p->termios); k++)
			p->termios[k] = (uint8_t)(k + 100 * i);
	}
	ADD(b, WATCH, watch, .fd = 3, .events = 25, .data = 0x1122334455667788, .ofd = 3);
}

static void thread(struct image_builder *b, int32_t tid, uint32_t first_pending, uint32_t pendings)
{
	static const uint8_t affinity[16] = {0x5a, 1};
	uint8_t xstate[640];

	for (size_t i = 0; i < sizeof(xstate); i++)
		xstate[i] = (uint8_t)(i * 7 + (size_t)tid);
	ADD(b, THREAD, thread, .tid = tid, .nice = -tid, .comm = "a thread",
	    .regs = {.r15 = 1,
		     .r14 = 2,
		     .r13 = 3,
		     .r12 = 4,
		     .rbp = 5,
		     .rbx = 6,
		     .r11 = 7,
		     .r10 = 8,
		     .r9 = 9,
		     .r8 = 10,
		     .rax = 11,
		     .rcx = 12,
		     .rdx = 13,
		     .rsi = 14,
		     .rdi = 15,
		     .orig_rax = 16,
		     .rip = 0x400111,
		     .cs = 0x33,
		     .eflags = 0x246,
		     .rsp = 0x7ffc00001000,
		     .ss = 0x2b,
		     .fs_base = 0x7f0000000740,
		     .gs_base = 17,
		     .ds = 18,
		     .es = 19,
		     .fs = 20,
		     .gs = 21},
	    .xstate = bytes(b, xstate, sizeof(xstate)), .sigmask = 22, .rseq = 23,
	    .robust_list = 24, .robust_bytes = 25, .tid_address = 26, .rseq_bytes = 27,
	    .rseq_sig = 28, .altstack = 29, .altstack_bytes = 30, .altstack_flags = 31,
	    .flags = IMAGE_THREAD_FLAGS, .policy = 3, .io_priority = 0x4005, .timer_slack_ns = 32,
	    .affinity = bytes(b, affinity, sizeof(affinity)),
	    .pendings = {first_pending, pendings});
}

static void run(struct image_builder *b, uint64_t start)
{
	ADD(b, RUN, run, .start = start, .end = start + IMAGE_PAGE,
	    .offset = IMAGE_PAGE + b->pages_bytes);
	b->pages_bytes += IMAGE_PAGE;
}

static void memory(struct image_builder *b)
{
	ADD(b, MAP, map, .start = 0x400000, .end = 0x402000, .kind = IMAGE_MAP_FILE, .prot = 5,
	    .flags = IMAGE_MAP_DONTDUMP, .file = 0, .file_offset = 0x3000, .runs = {0, 1});
	ADD(b, MAP, map, .start = 0x500000, .end = 0x508000, .kind = IMAGE_MAP_ANON, .prot = 3,
	    .flags = IMAGE_MAP_NORESERVE | IMAGE_MAP_NOHUGE, .file = IMAGE_NONE, .runs = {1, 1});
	ADD(b, MAP, map, .start = 0x600000, .end = 0x602000, .kind = IMAGE_MAP_SHMEM, .prot = 3,
	    .flags = IMAGE_MAP_SHARED, .file = 0, .file_offset = 0x1000);
	ADD(b, MAP, map, .start = 0x7ffc00000000, .end = 0x7ffc00008000, .kind = IMAGE_MAP_STACK,
	    .prot = 3, .file = IMAGE_NONE, .runs = {2, 1});
	ADD(b, MAP, map, .start = 0x7ffd00000000, .end = 0x7ffd00004000, .kind = IMAGE_MAP_VVAR,
	    .prot = 1, .file = IMAGE_NONE);
	ADD(b, MAP, map, .start = 0x7ffd00004000, .end = 0x7ffd00006000, .kind = IMAGE_MAP_VDSO,
	    .prot = 5, .file = IMAGE_NONE);
	run(b, 0x401000);
	run(b, 0x503000);
	run(b, 0x7ffc00007000);
	run(b, 0x1000); /* of the object */
	ADD(b, SHARED, shared, .bytes = 0x2345, .name = text(b, "memfd"), .runs = {3, 1},
	    .seals = 14);
}

static void processes(struct image_builder *b)
{
	uint64_t auxv[] = {6, 4096, 0, 0};
	struct image_proc *p;

	ADD(b, PROC, proc, .pid = 7, .pgid = 8, .sid = 9, .parent = IMAGE_NONE,
	    .flags = IMAGE_PROC_SUBREAPER, .umask = 027, .personality = 0x40000,
	    .oom_score_adj = 11, .exe = 0, .cwd = 1, .pdeathsig = 12, .pty = IMAGE_NONE,
	    .threads = {0, 2}, .maps = {0, 6}, .fds = {0, 2}, .actions = {0, 1}, .pendings = {1, 1},
	    .mm = {.start_code = 41,
		   .end_code = 42,
		   .start_data = 43,
		   .end_data = 44,
		   .start_brk = 45,
		   .brk = 46,
		   .start_stack = 47,
		   .arg_start = 48,
		   .arg_end = 49,
		   .env_start = 50,
		   .env_end = 51},
	    .auxv = bytes(b, auxv, sizeof(auxv)), .itimer = {{61, 62}, {63, 64}, {65, 66}});
	p = image_builder_at(b, IMAGE_PROC, 0);
	for (uint64_t i = 0; i < 16; i++) {
		p->rlimit[i][0] = 1000 + i;
		p->rlimit[i][1] = 2000 + i;
	}
	thread(b, 7, 0, 1);
	thread(b, 10, 1, 0);
	memory(b);
	ADD(b, FD, fd, .number = 1, .ofd = 4);
	ADD(b, FD, fd, .number = 3, .ofd = 3, .cloexec = 1);
	ADD(b, ACTION, action, .signo = 10, .handler = 0x400222, .flags = 0x14000004,
	    .restorer = 0x400333, .mask = 71);
	for (uint8_t i = 0; i < 2; i++)
		memset(add(b, IMAGE_PENDING), 0x80 + i, sizeof(struct image_pending));
	ADD(b, PROC, proc, .pid = 12, .pgid = 7, .sid = 7, .parent = 0, .flags = IMAGE_PROC_ZOMBIE,
	    .exit_code = 0x0300, .pty = IMAGE_NONE);
}

/* The image whose file is in the repository. */
static void make(struct whole *ret)
{
	struct image_builder b = {.host = {.release = "6.1.0-golden",
					   .version = "#1 SMP",
					   .machine = "x86_64",
					   .xstate_features = 7,
					   .xstate_bytes = 832,
					   .vdso_bytes = 8192}};
	void *desc;

	files(&b);
	objects(&b);
	processes(&b);
	assert_int_equal(b.pages_bytes, PAGES * IMAGE_PAGE);
	assert_int_equal(image_encode(&b, &ret->header, &desc), 0);
	ret->size = ret->header.file_bytes;
	ret->bytes = calloc(1, ret->size);
	assert_non_null(ret->bytes);
	memcpy(ret->bytes, &ret->header, sizeof(ret->header));
	for (size_t i = 0; i < PAGES; i++)
		memset(ret->bytes + IMAGE_PAGE * (i + 1), 'A' + (int)i, IMAGE_PAGE);
	memcpy(ret->bytes + ret->header.desc_offset, desc, ret->header.desc_bytes);
	free(desc);
	image_builder_done(&b);
}

/* The file of a version; false when there is none. */
static bool golden(unsigned version, struct whole *ret)
{
	const char *top = getenv("CLEAVE_TOP");
	char path[4096];
	FILE *f;

	assert_non_null(top);
	snprintf(path, sizeof(path), "%s/tests/unit/golden/image-v%u", top, version);
	f = fopen(path, "rbe");
	if (!f)
		return false;
	ret->bytes = malloc(FILE_MAX);
	assert_non_null(ret->bytes);
	ret->size = fread(ret->bytes, 1, FILE_MAX, f);
	fclose(f);
	assert_in_range(ret->size, sizeof(ret->header), FILE_MAX - 1);
	memcpy(&ret->header, ret->bytes, sizeof(ret->header));
	return true;
}

static int sealed(const struct whole *w)
{
	int fd = memfd_create("golden", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(write(fd, w->bytes, w->size), w->size);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static void writes_the_same_bytes(void **state)
{
	struct whole made, stored = {0};

	(void)state;
	make(&made);
	if (!golden(IMAGE_VERSION, &stored))
		fail_msg("there is no golden image of version %u", IMAGE_VERSION);
	for (size_t i = 0; i < made.size && i < stored.size; i++)
		if (made.bytes[i] != stored.bytes[i])
			fail_msg("the format has changed at byte %zu without another version", i);
	assert_int_equal(made.size, stored.size);
	free(made.bytes);
	free(stored.bytes);
}

/* From the sealed file as a clone's keeper opens it. */
static void reads_what_was_written(void **state)
{
	struct whole made, stored = {0};
	struct fork_image im;
	struct err e = ERR_INIT;
	uint8_t page[IMAGE_PAGE];
	int fd;

	(void)state;
	make(&made);
	assert_true(golden(IMAGE_VERSION, &stored));
	fd = sealed(&stored);
	if (fork_image_open(fd, &im, &e) < 0)
		fail_msg("%s", e.what);
#define SECTION(id, type)                                                           \
	assert_int_equal(im.image.type##_n, made.header.section[IMAGE_##id].count); \
	assert_true(im.image.type##_n > 0);                                         \
	assert_memory_equal(im.image.type,                                          \
			    made.bytes + made.header.desc_offset +                  \
				    made.header.section[IMAGE_##id].offset,         \
			    im.image.type##_n * sizeof(*im.image.type));
#include "image/sections.def"
#undef SECTION
	assert_string_equal((const char *)image_bytes(&im.image, im.image.file[2].path),
			    "/home/user/data");
	assert_int_equal(im.image.thread[1].regs.orig_rax, 16);
	assert_int_equal(im.image.proc[0].rlimit[15][1], 2015);
	assert_int_equal(im.image.proc[1].exit_code, 0x0300);
	assert_int_equal(pread(fd, page, sizeof(page), (off_t)im.image.run[1].offset),
			 sizeof(page));
	assert_int_equal(page[0], 'B');
	assert_int_equal(im.image.pending[1].siginfo[127], 0x81);
	fork_image_close(&im);
	close(fd);
	free(made.bytes);
	free(stored.bytes);
}

static void refuses_other_versions(void **state)
{
	struct whole w;

	(void)state;
	for (unsigned v = 0; v <= IMAGE_VERSION + 1; v++) {
		struct err e = ERR_INIT;
		struct fork_image im;
		char want[64];
		int fd;

		if (v == IMAGE_VERSION)
			continue;
		if (!golden(v, &w)) {
			assert_true(golden(IMAGE_VERSION, &w));
			((struct image_header *)w.bytes)->version = v;
		}
		fd = sealed(&w);
		assert_true(fork_image_open(fd, &im, &e) < 0);
		snprintf(want, sizeof(want), "image of format %u", v);
		assert_non_null(strstr(e.what, want));
		close(fd);
		free(w.bytes);
	}
}

static int write_file(const char *path)
{
	struct whole w;
	FILE *f = fopen(path, "wbe");
	bool ok;

	if (!f)
		return 1;
	make(&w);
	ok = fwrite(w.bytes, 1, w.size, f) == w.size;
	ok = fclose(f) == 0 && ok;
	free(w.bytes);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_the_same_bytes),
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(refuses_other_versions),
	};

	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_file(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
