/* SPDX-License-Identifier: Apache-2.0 */
/* The list of --bin at its bounds, and ld.so.conf. What ordinary programs need is
 * tests/system/test_bin.py's. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "elf/search.h"

/* The list of files is full while the nodes have grown: neither is lost, neither is freed twice. */
static void a_list_that_is_full_is_an_error(void **state)
{
	enum { N = ELF_ITEMS_MAX + 1 };
	static char *names[N];
	char dir[] = "/tmp/unit-elf-XXXXXX";
	struct elf_items items;
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < N; i++) {
		AUTO_FD int fd = -EBADF;

		assert_true(asprintf(&names[i], "%s/%zu", dir, i) > 0);
		fd = open(names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
		assert_true(fd >= 0);
	}
	assert_true(elf_programs(names, N, &items, &e) < 0);
	assert_int_equal(items.n, 0);
	assert_non_null(strstr(e.what, names[N - 1]));
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(unlink(names[i]), 0);
		free(names[i]);
	}
	assert_int_equal(rmdir(dir), 0);
}

/* ---- ld.so.conf: `top` has a library libit.so in lib/, and what a test writes ---- */

static char top[] = "/tmp/unit-conf-XXXXXX";
static const struct elf_object wanted = {
	.kind = ELF_OBJECT, .class = ELFCLASS64, .machine = EM_X86_64};

static void write_file(const char *name, const void *bytes, size_t n)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* A file of text, where each @ is the directory. */
static void write_text(const char *name, const char *text)
{
	char all[4096];
	size_t n = 0;

	for (; *text; text++)
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%.*s",
				      *text == '@' ? (int)strlen(top) : 1,
				      *text == '@' ? top : text);
	write_file(name, all, n);
}

/* Is lib/libit.so found by a file with this text? */
static bool finds(const char *text)
{
	char conf[PATH_MAX], found[PATH_MAX], want[PATH_MAX];

	write_text("conf", text);
	snprintf(conf, sizeof(conf), "%s/conf", top);
	snprintf(want, sizeof(want), "%s/lib/libit.so", top);
	if (!elf_conf_find(conf, "libit.so", &wanted, found))
		return false;
	assert_string_equal(found, want);
	return true;
}

static int make_top(void **state)
{
	Elf64_Ehdr h = {.e_ident = ELFMAG, .e_machine = EM_X86_64};
	char path[PATH_MAX];

	(void)state;
	assert_non_null(mkdtemp(top));
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", top, i ? "d" : "lib");
		assert_int_equal(mkdir(path, 0755), 0);
	}
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	write_file("lib/libit.so", &h, sizeof(h));
	h.e_machine = EM_AARCH64;
	write_file("libit.so", &h, sizeof(h));
	write_text("d/one.conf", "# nothing\n/nowhere\n");
	write_text("d/two.conf", "@/lib\n");
	write_text("d/self", "include self self self\n");
	return 0;
}

static int remove_top(void **state)
{
	static const char *const names[] = {"conf",   "lib/libit.so", "libit.so",
					    "lib",    "d/one.conf",   "d/two.conf",
					    "d/pipe", "d/self",       "d",
					    ""};
	char path[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", top, names[i]);
		if (remove(path) < 0 && errno != ENOENT)
			return -1;
	}
	return 0;
}

static void conf_names_directories(void **state)
{
	(void)state;
	assert_true(finds("@/lib"));
	assert_true(finds("/nowhere\n\n \t@/lib// \t# why\n"));
	assert_true(finds("hwcap 1 nosegneg\n@/lib=libc6\n"));
	assert_false(finds("# @/lib\n"));
	assert_false(finds("lib\n"));
	assert_false(finds("@\n")); /* of another processor */
	assert_false(finds("hwcap @/lib\n"));
	assert_false(finds(""));
}

static void conf_includes(void **state)
{
	(void)state;
	assert_true(finds("include @/d/two.conf\n"));
	assert_true(finds("include\td/none /nowhere/*  d/t*.conf\n"));
	assert_true(finds("include @/d/*.conf\n"));
	assert_false(finds("include @/d/one.conf\n"));
	assert_false(finds("included @/d/two.conf\n"));
	assert_false(finds("include @/*/two.conf\n")); /* wildcards: in the last name alone */
	assert_false(finds("include\n"));
}

/* What goes round, has no end or is no file is left, and what follows it is read. */
static void conf_may_be_hostile(void **state)
{
	enum { MANY = 70000 };
	char path[PATH_MAX], *much = malloc(MANY);

	(void)state;
	assert_non_null(much);
	snprintf(path, sizeof(path), "%s/d/pipe", top);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_true(finds("include conf d/pipe /dev/zero /proc/self/mem d lib/libit.so\n@/lib\n"));
	assert_true(finds("include conf conf\n@/lib\n"));
	assert_false(finds("include d/self\n@/lib\n")); /* itself, thrice: at the bound */
	memset(much, '\n', MANY);
	write_file("d/one.conf", much, MANY);
	assert_true(finds("include d/one.conf d/two.conf\n"));
	for (size_t i = 0; i + 4 <= 60000; i += 4)
		memcpy(much + i, "/x\n\n", 4);
	write_file("d/one.conf", much, 60000);
	assert_false(finds("include d/one.conf\n@/lib\n")); /* too many directories */
	free(much);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_that_is_full_is_an_error),
		cmocka_unit_test(conf_names_directories),
		cmocka_unit_test(conf_includes),
		cmocka_unit_test(conf_may_be_hostile),
	};

	return cmocka_run_group_tests(tests, make_top, remove_top);
}
