/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tar: fields, names, extended headers, sparse maps, and streams that are wrong. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/tar_member.h"

/* A stream in memory. */
static char stream[1 << 17];
static size_t stream_len, stream_at;
static struct err error;

static int stream_read(void *arg, void *data, size_t n)
{
	(void)arg;
	if (n > stream_len - stream_at)
		return -EBADMSG;
	memcpy(data, stream + stream_at, n);
	stream_at += n;
	return 0;
}

static void add_bytes(const void *data, size_t n)
{
	size_t padded = (n + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;

	assert_true(stream_len + padded <= sizeof(stream));
	memcpy(stream + stream_len, data, n);
	memset(stream + stream_len + n, 0, padded - n);
	stream_len += padded;
}

static void add_member(char type, const char *name, const char *link, const void *data, size_t n)
{
	struct tar_header h = {.type = type, .magic = "ustar"};

	memcpy(h.magic + 6, "00", 2);
	snprintf(h.name, sizeof(h.name), "%s", name);
	snprintf(h.link, sizeof(h.link), "%s", link);
	snprintf(h.mode, sizeof(h.mode), "0000644");
	snprintf(h.mtime, sizeof(h.mtime), "00000000001");
	snprintf(h.size, sizeof(h.size), "%011zo", n);
	snprintf(h.checksum, sizeof(h.checksum), "%06o", tar_checksum(&h));
	add_bytes(&h, sizeof(h));
	add_bytes(data, n);
}

static void add_pax(const char *records)
{
	add_member('x', "pax", "", records, strlen(records));
}

static void add_end(void)
{
	static const char zeros[2 * TAR_BLOCK];

	add_bytes(zeros, sizeof(zeros));
}

static int setup(void **state)
{
	(void)state;
	stream_len = stream_at = 0;
	error = ERR_INIT;
	return 0;
}

static int first(struct tar_member *m)
{
	struct tar_stream s = {.read = stream_read};

	error = ERR_INIT;
	stream_at = 0;
	return tar_next(&s, m, &error);
}

static void test_number(void **state)
{
	static const struct {
		const char *field;
		size_t size;
		int result;
		uint64_t value;
	} cases[] = {
		{"0000644", 8, 0, 0644},
		{"   644 ", 8, 0, 0644},
		{"77777777", 8, 0, 077777777},
		{"\0\0\0\0\0\0\0\0", 8, 0, 0},
		{"0000648", 8, -EINVAL, 0},
		{"-000644", 8, -EINVAL, 0},
		{"06 44\0\0", 8, -EINVAL, 0},
		{"\x80\0\0\0\0\0\x01\x02", 8, 0, 0x102},
		{"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12, 0, INT64_MAX},
		{"\x80\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, -EINVAL, 0},
		{"\xff\xff\xff\xff\xff\xff\xff\xff", 8, -EINVAL, 0}, /* negative */
		{"\x81\0\0\0\0\0\x01\x02", 8, -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t v = 0;

		assert_int_equal(tar_number(cases[i].field, cases[i].size, &v), cases[i].result);
		assert_true(cases[i].result || v == cases[i].value);
	}
}

static void test_paths(void **state)
{
	static const char *const good[][2] = {
		{"a/b", "a/b"}, {"/a//b/", "a/b"}, {"./a/./b", "a/b"}, {"", ""},
		{"./", ""},     {"/", ""},         {"...", "..."},     {"a/..b", "a/..b"},
	};
	static const char *const bad[] = {"..", "../a", "a/..", "a/../b", "/..", "a/b/../../.."};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(path, sizeof(path), "%s", good[i][0]);
		assert_int_equal(tar_clean_path(path), 0);
		assert_string_equal(path, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(path, sizeof(path), "%s", bad[i]);
		assert_int_equal(tar_clean_path(path), -EBADMSG);
	}
}

static void test_members(void **state)
{
	struct tar_member m;
	struct tar_stream s = {.read = stream_read};

	(void)state;
	add_member('0', "/etc/x", "", "content", 7);
	add_member('5', "d/", "", "", 0);
	add_member('2', "l", "../x", "", 0);
	add_member('1', "h", "./etc/x", "", 0);
	add_member('3', "device", "", "", 0);
	add_member('0', "old-style/", "", "", 0);
	add_end();
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_string_equal(m.path, "etc/x");
	assert_int_equal(m.size, 7);
	assert_int_equal(m.mode, 0644);
	assert_int_equal(m.mtime, 1);
	stream_at += TAR_BLOCK;
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_int_equal(m.type, '5');
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_string_equal(m.link, "../x");
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_string_equal(m.link, "etc/x");
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_int_equal(m.type, '3');
	assert_int_equal(tar_next(&s, &m, &error), 1);
	assert_int_equal(m.type, '5');
	assert_int_equal(tar_next(&s, &m, &error), 0);
	assert_int_equal(s.members, 6);
}

static void test_extended(void **state)
{
	char name[300], records[400];
	struct tar_member m;
	int n;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	n = snprintf(records, sizeof(records), "309 path=%s\n21 mtime=-5.25000000\n", name);
	assert_int_equal(n, 330);
	add_pax(records);
	add_member('0', "short", "", "", 0);
	assert_int_equal(first(&m), 1);
	assert_string_equal(m.path, name);
	assert_int_equal(m.mtime, -5);

	setup(NULL);
	add_member('L', "././@LongLink", "", name, sizeof(name));
	add_member('K', "././@LongLink", "", name, sizeof(name));
	add_member('2', "short", "short", "", 0);
	assert_int_equal(first(&m), 1);
	assert_string_equal(m.path, name);
	assert_string_equal(m.link, name);

	setup(NULL);
	add_pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n24 GNU.sparse.name=real\n"
		"28 GNU.sparse.realsize=1000\n");
	add_member('0', "GNUSparseFile.1/real", "", "0\n", 2);
	assert_int_equal(first(&m), 1);
	assert_string_equal(m.path, "real");
	assert_true(m.sparse);
	assert_int_equal(m.real_size, 1000);
}

static void test_malformed_records(void **state)
{
	static const char *const bad[] = {
		"x",
		"5",
		"12 path=abc",   /* no newline */
		"13 path=abc\n", /* longer than there is */
		"11 path=abc\n", /* shorter than it is */
		"4 a\n",         /* no equals sign */
		"0 a=b\n",
		"-6 a=b\n",
		"99999999999999999999 a=b\n",
		"12 path=../a\n",
		"16 path=a/../..\n",
		"10 size=x\n",
		"30 size=99999999999999999999\n",
		"20 GNU.sparse.map=\n",
		"22 GNU.sparse.major=1\n", /* without a real size */
		"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n28 GNU.sparse.realsize=1000\n",
	};
	struct tar_member m;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup(NULL);
		add_pax(bad[i]);
		add_member('0', "f", "", "", 0);
		add_end();
		if (first(&m) >= 0)
			fail_msg("accepted: %s", bad[i]);
		assert_true(error.id == ERR_SOURCE);
	}
}

static void test_malformed_headers(void **state)
{
	struct tar_member m;

	(void)state;
	add_member('0', "../out", "", "", 0);
	assert_int_equal(first(&m), -EBADMSG);
	setup(NULL);
	add_member('1', "h", "../out", "", 0);
	assert_int_equal(first(&m), -EBADMSG);
	setup(NULL);
	add_member('0', "", "", "", 0);
	assert_int_equal(first(&m), -EBADMSG);
	setup(NULL);
	add_member('2', "link", "to", "content", 7);
	assert_int_equal(first(&m), -EBADMSG);
	setup(NULL);
	add_member('S', "sparse", "", "", 0);
	assert_int_equal(first(&m), -EOPNOTSUPP);
	assert_true(error.hint[0]);
	setup(NULL);
	add_member('0', "f", "", "", 0);
	stream[0] ^= 1; /* checksum */
	assert_int_equal(first(&m), -EBADMSG);
	setup(NULL);
	add_bytes("\x1f\x8b\x08", 3);
	assert_int_equal(first(&m), -EBADMSG);
	assert_non_null(strstr(error.hint, "compressed"));
	setup(NULL);
	assert_int_equal(first(&m), -EBADMSG); /* nothing at all */
}

/* ---- unpacking, into a directory ---- */

static char top[] = "/tmp/cleave-tar-XXXXXX";
static int top_fd, stream_fd;

static int setup_dir(void **state)
{
	memcpy(top + strlen(top) - 6, "XXXXXX", 6);
	assert_non_null(mkdtemp(top));
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stream_fd = memfd_create("stream", MFD_CLOEXEC);
	assert_true(top_fd >= 0 && stream_fd >= 0);
	return setup(state);
}

static void remove_all(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_all(fd, entry->d_name);
	if (d)
		closedir(d);
	unlinkat(dir_fd, name, d ? AT_REMOVEDIR : 0);
}

static int teardown_dir(void **state)
{
	(void)state;
	close(top_fd);
	close(stream_fd);
	remove_all(AT_FDCWD, top);
	return 0;
}

static int unpack(struct tree_report *report)
{
	struct side s;

	assert_int_equal(side_inside(&s, top_fd, geteuid(), getegid(), &error), 0);
	*report = (struct tree_report){0};
	error = ERR_INIT;
	assert_int_equal(ftruncate(stream_fd, 0), 0);
	assert_int_equal(pwrite(stream_fd, stream, stream_len, 0), stream_len);
	assert_int_equal(lseek(stream_fd, 0, SEEK_SET), 0);
	return tar_extract(stream_fd, &s, top_fd, report, &error);
}

static bool exists(const char *name)
{
	struct stat st;

	return fstatat(top_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_unpack(void **state)
{
	struct tree_report report;
	struct stat st;

	(void)state;
	add_member('0', "a/b/f", "", "content", 7); /* directories that no member names */
	add_member('1', "a/h", "a/b/f", "", 0);
	add_member('3', "device", "", "", 0);
	add_member('6', "fifo", "", "", 0);
	add_member('V', "label", "", "data of an unknown kind", 23);
	add_member('2', "l", "/etc", "", 0);
	add_member('5', "./", "", "", 0);
	add_end();
	add_bytes("trailing garbage", 16);
	assert_int_equal(unpack(&report), 0);
	assert_int_equal(report.skipped, 3);
	assert_int_equal(fstatat(top_fd, "a/h", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_size, 7);
	assert_int_equal(st.st_mtim.tv_sec, 1);
	assert_false(exists("device"));
	assert_int_equal(lseek(stream_fd, 0, SEEK_CUR), stream_len); /* read to its end */
}

/* A link that one member makes does not carry the next one away. */
static void test_through_link(void **state)
{
	struct tree_report report;

	(void)state;
	assert_int_equal(mkdirat(top_fd, "away", 0755), 0);
	add_member('2', "l", "away", "", 0);
	add_member('0', "l/f", "", "x", 1);
	add_end();
	assert_int_equal(unpack(&report), -ENOTDIR);
	assert_false(exists("away/f"));
	setup(NULL);
	add_member('0', "f", "", "x", 1);
	add_member('2', "link", "/etc", "", 0);
	add_member('1', "h", "link/passwd", "", 0);
	assert_int_equal(unpack(&report), -ENOTDIR);
	assert_false(exists("h"));
}

static void add_sparse(const char *map, size_t data, const char *real_size)
{
	char records[256], content[4 * TAR_BLOCK] = "";
	size_t len = strlen(real_size) + 24;

	snprintf(records, sizeof(records),
		 "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n%zu GNU.sparse.realsize=%s\n", len,
		 real_size);
	add_pax(records);
	snprintf(content, TAR_BLOCK, "%s", map);
	memset(content + TAR_BLOCK, 'd', data);
	add_member('0', "s", "", content, TAR_BLOCK + data);
	add_end();
}

static void test_sparse(void **state)
{
	static const struct {
		const char *map;
		size_t data;
		const char *size;
		int result;
	} cases[] = {
		{"1\n1000000\n3\n", 3, "9000000", 0},
		{"2\n0\n1\n5\n2\n", 3, "7", 0},
		{"0\n", 0, "1000", 0},
		{"1\n1000000\n4\n", 3, "9000000", -EBADMSG}, /* more than there is */
		{"1\n1000000\n2\n", 3, "9000000", -EBADMSG}, /* less */
		{"1\n8\n3\n", 3, "9", -EBADMSG},             /* beyond the end */
		{"2\n5\n2\n0\n1\n", 3, "7", -EBADMSG},       /* backwards */
		{"2\n0\n2\n1\n1\n", 3, "7", -EBADMSG},       /* overlapping */
		{"1\n9223372036854775807\n3\n", 3, "9", -EBADMSG},
		{"1\n99999999999999999999\n3\n", 3, "9", -EBADMSG},
		{"99999999\n", 3, "9", -EBADMSG},
		{"\n", 3, "9", -EBADMSG},
		{"1 2", 3, "9", -EBADMSG},
		{"-1\n", 3, "9", -EBADMSG},
	};
	struct tree_report report;
	struct stat st;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		add_sparse(cases[i].map, cases[i].data, cases[i].size);
		if (unpack(&report) != cases[i].result)
			fail_msg("map %zu: %s", i, error.what);
		assert_int_equal(exists("s"), cases[i].result == 0);
		if (cases[i].result)
			continue;
		assert_int_equal(fstatat(top_fd, "s", &st, 0), 0);
		assert_int_equal(st.st_size, strtol(cases[i].size, NULL, 10));
		unlinkat(top_fd, "s", 0);
	}
}

/* Cut anywhere, it is refused, and leaves no half of a file. */
static void test_truncated(void **state)
{
	struct tree_report report;
	static char content[3000];
	size_t whole;

	(void)state;
	memset(content, 'c', sizeof(content));
	add_pax("15 path=longer\n");
	add_member('0', "f", "", content, sizeof(content));
	whole = stream_len;
	for (stream_len = 0; stream_len < whole; stream_len += 100) {
		assert_int_equal(unpack(&report), -EBADMSG);
		assert_false(exists("longer") && stream_len < whole - TAR_BLOCK);
	}
}

/* Any one byte changed: an answer, never a crash (the sanitizers watch). */
static void test_every_byte(void **state)
{
	struct tar_stream s;
	struct tar_member *m = malloc(sizeof(*m));
	size_t whole;

	(void)state;
	add_pax("15 path=longer\n22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
		"28 GNU.sparse.realsize=1000\n");
	add_member('L', "x", "", "name", 4);
	add_member('0', "f", "", "0\n", 2);
	add_end();
	whole = stream_len;
	for (size_t i = 0; i < whole; i++)
		for (unsigned flip = 1; flip < 256; flip <<= 1) {
			unsigned sum, n = 0;
			struct tar_header *h =
				(struct tar_header *)(stream + i / TAR_BLOCK * TAR_BLOCK);

			stream[i] ^= (char)flip;
			sum = tar_checksum(h); /* let it in */
			if (!memcmp(h->magic, "ustar", 5))
				snprintf(h->checksum, sizeof(h->checksum), "%06o", sum);
			s = (struct tar_stream){.read = stream_read};
			stream_at = 0;
			error = ERR_INIT;
			while (tar_next(&s, m, &error) > 0 && n++ < 10)
				assert_true(memchr(m->path, 0, sizeof(m->path)) != NULL);
			stream[i] ^= (char)flip;
			if (!memcmp(h->magic, "ustar", 5))
				snprintf(h->checksum, sizeof(h->checksum), "%06o", tar_checksum(h));
		}
	free(m);
}

#define T(f) cmocka_unit_test_setup(f, setup)
#define D(f) cmocka_unit_test_setup_teardown(f, setup_dir, teardown_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_number),
		T(test_paths),
		T(test_members),
		T(test_extended),
		T(test_malformed_records),
		T(test_malformed_headers),
		D(test_unpack),
		D(test_through_link),
		D(test_sparse),
		D(test_truncated),
		T(test_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
