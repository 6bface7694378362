/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles of the user's: what the compiled program answers, run by an interpreter written for this
 * test, and the sentence for each thing that is wrong with a profile. The kernel's own verdict is
 * in tests/system/test_profile.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "../bpf.h"
#include "base/cleanup.h"
#include "kern/profile.h"
#include "kern/seccomp.h"

#define ANSWER(e) (SECCOMP_RET_ERRNO | (e))
#define ALLOWED SECCOMP_RET_ALLOW
#define ALLOW_ALL "\"defaultAction\": \"SCMP_ACT_ALLOW\""
#define FIRST "\"names\": [\"mkdir\"], \"action\": \"SCMP_ACT_ERRNO\""

static struct profile compile(const char *text)
{
	struct err e = ERR_INIT;
	struct profile p;

	if (profile_compile("test", text, strlen(text), &p, &e) < 0)
		fail_msg("%s\n%s", e.what, text);
	assert_true(p.len && p.len <= PROFILE_INSNS_MAX);
	return p;
}

static uint32_t ask_arch(const struct profile *p, uint32_t arch, uint32_t nr, uint64_t a0,
			 uint64_t a2)
{
	struct seccomp_data d = {.nr = (int)nr, .arch = arch, .args = {a0, 0, a2}};
	int64_t answer = bpf_answer(p->insns, p->len, &d);

	assert_true(answer >= 0);
	return (uint32_t)answer;
}

static uint32_t ask(const struct profile *p, uint32_t nr, uint64_t a0, uint64_t a2)
{
	return ask_arch(p, AUDIT_ARCH_X86_64, nr, a0, a2);
}

/* An allowlist with what a start needs, as docker's is written. */
static void allowlist(void **state)
{
	struct profile p = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 38,"
		" \"archMap\": [{\"architecture\": \"SCMP_ARCH_X86_64\", \"subArchitectures\":"
		"   [\"SCMP_ARCH_X86\", \"SCMP_ARCH_X32\"]},"
		"  {\"architecture\": \"SCMP_ARCH_LOONGARCH64\", \"subArchitectures\": null}],"
		" \"syscalls\": ["
		" {\"names\": [\"execve\", \"mmap\", \"write\", \"clock_gettime\", \"exit_group\","
		"   \"read\", \"_newselect\", \"a_call_of_2050\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"args\": null, \"comment\": \"\", \"includes\": {}, \"excludes\": {}},"
		" {\"names\": [\"fchmodat2\"], \"action\": \"SCMP_ACT_ALLOW\"},"
		" {\"name\": \"personality\", \"action\": \"SCMP_ACT_ALLOW\", \"args\":"
		"   [{\"index\": 0, \"value\": 4294967295, \"op\": \"SCMP_CMP_EQ\"}]},"
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\":"
		"   [{\"index\": 0, \"value\": 38, \"op\": \"SCMP_CMP_LT\"}]},"
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\":"
		"   [{\"index\": 0, \"value\": 40, \"op\": \"SCMP_CMP_GT\"}]},"
		" {\"names\": [\"clone\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\":"
		"   [{\"index\": 0, \"value\": 2114060288, \"op\": \"SCMP_CMP_MASKED_EQ\"}],"
		"   \"excludes\": {\"caps\": [\"CAP_SYS_ADMIN\"], \"arches\": [\"s390\", "
		"\"mips3l64n32\"]}},"
		" {\"names\": [\"bpf\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"includes\": {\"caps\": [\"CAP_BPF\"]}},"
		" {\"names\": [\"ptrace\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"includes\": {\"minKernel\": \"4.8\", \"arches\": [\"arm\", \"amd64\"]}},"
		" {\"names\": [\"kcmp\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"includes\": {\"minKernel\": \"999.0\"}},"
		" {\"names\": [\"mount\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"includes\": {\"arches\": [\"arm64\"]}},"
		" {\"names\": [\"umount2\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"excludes\": {\"minKernel\": \"3.0\"}},"
		" {\"names\": [\"acct\"], \"action\": \"SCMP_ACT_ALLOW\","
		"   \"excludes\": {\"arches\": [\"amd64\"]}},"
		" {\"names\": [\"clone3\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 22,"
		"   \"errno\": \"EINVAL\"},"
		" {\"names\": [\"vhangup\"], \"action\": \"SCMP_ACT_ERRNO\"}]}");

	(void)state;
	assert_int_equal(ask(&p, __NR_read, 0, 0), ALLOWED);
	assert_int_equal(ask(&p, 452 /* newer than libseccomp */, 0, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_mkdir, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, 999, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_personality, 0xffffffff, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_personality, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_socket, 1, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_socket, 38, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_socket, 40, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_socket, 41, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_clone, 0x11, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_clone, 0x10000000 /* user namespace */, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_bpf, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_ptrace, 0, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_kcmp, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_mount, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_umount2, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_acct, 0, 0), ANSWER(ENOSYS));
	assert_int_equal(ask(&p, __NR_clone3, 0, 0), ANSWER(EINVAL));
	assert_int_equal(ask(&p, __NR_vhangup, 0, 0), ANSWER(EPERM));
	assert_int_equal(ask_arch(&p, AUDIT_ARCH_I386, 3, 0, 0), SECCOMP_RET_KILL_PROCESS);
	profile_done(&p);
}

static uint32_t answer_of(const char *action)
{
	char text[256];
	struct profile p;
	uint32_t answer;

	snprintf(text, sizeof(text),
		 "{" ALLOW_ALL ", \"syscalls\": [{\"names\": [\"mkdir\"], \"action\": \"%s\"}]}",
		 action);
	p = compile(text);
	answer = ask(&p, __NR_mkdir, 0, 0);
	assert_int_equal(ask(&p, __NR_rmdir, 0, 0), ALLOWED);
	profile_done(&p);
	return answer;
}

static void actions(void **state)
{
	(void)state;
	assert_int_equal(answer_of("SCMP_ACT_ERRNO"), ANSWER(EPERM));
	assert_int_equal(answer_of("SCMP_ACT_KILL"), SECCOMP_RET_KILL_THREAD);
	assert_int_equal(answer_of("SCMP_ACT_KILL_THREAD"), SECCOMP_RET_KILL_THREAD);
	assert_int_equal(answer_of("SCMP_ACT_KILL_PROCESS"), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(answer_of("SCMP_ACT_TRAP"), SECCOMP_RET_TRAP);
	assert_int_equal(answer_of("SCMP_ACT_TRACE"), SECCOMP_RET_TRACE | EPERM);
	assert_int_equal(answer_of("SCMP_ACT_LOG"), SECCOMP_RET_LOG);
	assert_int_equal(answer_of("SCMP_ACT_ALLOW"), ALLOWED);
}

/* Tests of several arguments must all hold; of one argument twice, any. */
static void arguments(void **state)
{
	struct profile p = compile(
		"{" ALLOW_ALL ", \"syscalls\": ["
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ERRNO\", \"errno\": \"EINVAL\","
		"  \"args\": [{\"index\": 0, \"value\": 16, \"op\": \"SCMP_CMP_EQ\"},"
		"   {\"index\": 2, \"value\": 9, \"valueTwo\": 0, \"op\": \"SCMP_CMP_EQ\"}]},"
		" {\"names\": [\"personality\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\":"
		"  [{\"index\": 0, \"value\": 5, \"op\": \"SCMP_CMP_EQ\"},"
		"   {\"index\": 0, \"value\": 7, \"op\": \"SCMP_CMP_GE\"}]},"
		" {\"names\": [\"kill\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\":"
		"  [{\"index\": 0, \"value\": 240, \"valueTwo\": 16, \"op\": "
		"\"SCMP_CMP_MASKED_EQ\"}]},"
		" {\"names\": [\"dup\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\":"
		"  [{\"index\": 0, \"value\": 4, \"op\": \"SCMP_CMP_LE\"}]},"
		" {\"names\": [\"close\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\":"
		"  [{\"index\": 0, \"value\": 3, \"op\": \"SCMP_CMP_NE\"}]}]}");

	(void)state;
	assert_int_equal(ask(&p, __NR_socket, 16, 9), ANSWER(EINVAL));
	assert_int_equal(ask(&p, __NR_socket, 16, 8), ALLOWED);
	assert_int_equal(ask(&p, __NR_socket, 15, 9), ALLOWED);
	assert_int_equal(ask(&p, __NR_personality, 5, 0), ANSWER(EPERM));
	assert_int_equal(ask(&p, __NR_personality, 6, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_personality, 7, 0), ANSWER(EPERM));
	assert_int_equal(ask(&p, __NR_kill, 0x11f, 0), ANSWER(EPERM));
	assert_int_equal(ask(&p, __NR_kill, 0x12f, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_dup, 4, 0), ANSWER(EPERM));
	assert_int_equal(ask(&p, __NR_dup, 5, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_dup, UINT64_C(1) << 32, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_close, 3, 0), ALLOWED);
	assert_int_equal(ask(&p, __NR_close, 2, 0), ANSWER(EPERM));
	profile_done(&p);
}

/* podman's own profile has such: what libseccomp does with them is what they mean there. */
static void first_of_two(void **state)
{
	struct profile p = compile(
		"{" ALLOW_ALL ", \"syscalls\": [{" FIRST "}, {\"names\": [\"mkdir\"], \"action\": "
		"\"SCMP_ACT_TRAP\"}, {\"names\": [\"mkdir\"], \"action\": \"SCMP_ACT_ALLOW\"}]}");

	(void)state;
	assert_int_equal(ask(&p, __NR_mkdir, 0, 0), ANSWER(EPERM));
	profile_done(&p);
}

/* Whatever the default filter knows by number a profile can name, also where libseccomp is older.
 */
static void names_of_our_own_filter(void **state)
{
	(void)state;
	assert_int_equal(seccomp_number("read"), __NR_read);
	assert_int_equal(seccomp_number("fchmodat2"), 452);
	assert_int_equal(seccomp_number("a_call_of_2050"), -1);
	assert_int_equal(seccomp_number(""), -1);
}

static void forbids(void **state)
{
	static const char *const names[] = {"read", "personality", "mkdir", NULL};
	struct profile p = compile("{" ALLOW_ALL ", \"syscalls\": [{" FIRST "}]}");

	(void)state;
	assert_string_equal(profile_forbids(&p, names), "mkdir");
	assert_null(profile_forbids(&p, (const char *const[]){"read", "rmdir", NULL}));
	profile_done(&p);
	p = compile("{" ALLOW_ALL ", \"syscalls\": [{\"names\": [\"personality\"], \"action\": "
		    "\"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 0, \"value\": 1, \"op\": "
		    "\"SCMP_CMP_EQ\"}]}]}");
	assert_string_equal(profile_forbids(&p, names), "personality");
	profile_done(&p);
	p = compile("{\"defaultAction\": \"SCMP_ACT_LOG\"}");
	assert_null(profile_forbids(&p, names));
	profile_done(&p);
}

static void text_and_back(void **state)
{
	struct profile p = compile("{" ALLOW_ALL ", \"syscalls\": [{" FIRST "}]}"), q;
	AUTO_FREE char *text = profile_text(&p);

	(void)state;
	assert_non_null(text);
	assert_int_equal(profile_from_text(text, &q), 0);
	assert_int_equal(q.len, p.len);
	assert_memory_equal(q.insns, p.insns, p.len * sizeof(*p.insns));
	profile_done(&q);
	profile_done(&p);
	assert_int_equal(profile_from_text("", &q), -EINVAL);
	assert_int_equal(profile_from_text(text + 1, &q), -EINVAL);
	text[3] = 'G';
	assert_int_equal(profile_from_text(text, &q), -EINVAL);
	assert_null(q.insns);
}

static void refused_with(const char *text, size_t len, const char *why)
{
	struct err e = ERR_INIT;
	struct profile p;

	if (profile_compile("test", text, len, &p, &e) == 0)
		fail_msg("taken: %.200s", text);
	assert_null(p.insns);
	assert_true(e.id == ERR_SPEC);
	if (strncmp(e.what, "test: ", 6) != 0 || !strstr(e.what, why))
		fail_msg("'%s' does not say '%s'", e.what, why);
}

static void mistakes(void **state)
{
	static const struct {
		const char *text, *why;
	} all[] = {
		{"", "line 1"},
		{"[]", "an object is expected"},
		{"{}", "the action is missing"},
		{"{\"defaultAction\": 1}", "the action is missing"},
		{"{\"defaultAction\": \"SCMP_ACT_MAYBE\"}", "'SCMP_ACT_MAYBE' is no action"},
		{"{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", "SCMP_ACT_NOTIFY wants a process"},
		{"{" ALLOW_ALL ", " ALLOW_ALL "}", "duplicate"},
		{"{" ALLOW_ALL ", \"syscals\": []}", "the field 'syscals' is not known"},
		{"{" ALLOW_ALL ", \"listenerPath\": \"/x\"}", "listenerPath"},
		{"{" ALLOW_ALL ", \"syscalls\": {}}", "'syscalls' is no list"},
		{"{" ALLOW_ALL ", \"defaultErrnoRet\": 4096}", "'defaultErrnoRet' is no whole"},
		{"{" ALLOW_ALL ", \"defaultErrno\": \"EWHAT\"}", "'EWHAT' is no errno"},
		{"{" ALLOW_ALL ", \"flags\": [\"SECCOMP_FILTER_FLAG_LOG\"]}", "FLAG_LOG' is not"},
		{"{" ALLOW_ALL ", \"flags\": [1]}", "is not supported"},
		{"{" ALLOW_ALL ", \"architectures\": [\"x86_64\"]}", "is no architecture"},
		{"{" ALLOW_ALL ", \"architectures\": [\"SCMP_ARCH_Z80\"]}", "is no architecture"},
		{"{" ALLOW_ALL ", \"architectures\": [7]}", "is no architecture"},
		{"{" ALLOW_ALL ", \"architectures\": [\"SCMP_ARCH_AARCH64\"]}", "not among those"},
		{"{" ALLOW_ALL ", \"archMap\": [{\"architecture\": \"SCMP_ARCH_ARM\"}]}",
		 "not among those"},
		{"{" ALLOW_ALL ", \"syscalls\": [1]}", "syscalls[0]: an object"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST "}, {}]}", "syscalls[1]: the action"},
		{"{" ALLOW_ALL ", \"syscalls\": [{\"action\": \"SCMP_ACT_LOG\"}]}", "no call is"},
		{"{" ALLOW_ALL ", \"syscalls\": [{\"names\": [1], \"action\": \"SCMP_ACT_LOG\"}]}",
		 "the name of a call is a text"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"priority\": 1}]}", "'priority'"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"errnoRet\": -1}]}", "'errnoRet'"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"errnoRet\": 1, \"errno\": "
		 "\"EINVAL\"}]}",
		 "contradict"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"includes\": {\"cap\": []}}]}",
		 "'cap'"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"includes\": {\"caps\": [1]}}]}",
		 "capability"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"includes\": {\"arches\": "
		 "[\"z80\"]}}]}",
		 "'z80' is no architecture"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"excludes\": {\"minKernel\": "
		 "\"new\"}}]}",
		 "minKernel 'new'"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"includes\": {\"minKernel\": "
		 "5.1}}]}",
		 "minKernel"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"args\": [{\"op\": "
		 "\"SCMP_CMP_EQ\"}]}]}",
		 "without an index"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"args\": [{\"index\": 6, \"op\": "
		 "\"SCMP_CMP_EQ\"}]}]}",
		 "'index' is no whole number up to 5"},
		{"{" ALLOW_ALL ", \"syscalls\": [{" FIRST ", \"args\": [{\"index\": 1, \"op\": "
		 "\"SCMP_CMP_LIKE\"}]}]}",
		 "'SCMP_CMP_LIKE' is no operator"},
		{"{\"defaultAction\": \"SCMP_ACT_ERRNO\"}", "'execve'"},
		{"{" ALLOW_ALL ", \"syscalls\": [{\"names\": [\"write\"], \"action\": "
		 "\"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 0, \"value\": 9, \"op\": "
		 "\"SCMP_CMP_EQ\"}]}]}",
		 "does not always let 'write' run"},
	};
	char deep[6000], *big = calloc(1, PROFILE_BYTES_MAX + 2);

	(void)state;
	assert_non_null(big);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		refused_with(all[i].text, strlen(all[i].text), all[i].why);
	memset(deep, '[', sizeof(deep));
	refused_with(deep, sizeof(deep), "depth");
	memset(big, ' ', PROFILE_BYTES_MAX + 1);
	refused_with(big, PROFILE_BYTES_MAX + 1, "more than 256 KiB");
	free(big);
}

/* As many rules as fit into the text: bounded in number, time and length of the program. */
static void too_much(void **state)
{
	char *text = calloc(1, PROFILE_BYTES_MAX);
	size_t n;

	(void)state;
	assert_non_null(text);
	n = (size_t)sprintf(text, "{" ALLOW_ALL ", \"syscalls\": [");
	for (int i = 0; i < 2400; i++)
		n += (size_t)sprintf(text + n,
				     "%s{\"index\":0,\"op\":\"SCMP_CMP_MASKED_EQ\",\"value\":%d,"
				     "\"valueTwo\":%d}%s",
				     i % 12 ? ","
				     : i    ? ",{" FIRST ",\"args\":["
					    : "{" FIRST ",\"args\":[",
				     i + 1, i + 1, i % 12 == 11 ? "]}" : "");
	n += (size_t)sprintf(text + n, "]}");
	assert_true(n < PROFILE_BYTES_MAX);
	refused_with(text, n, "a program of more than 4096 instructions");
	n = (size_t)sprintf(text, "{" ALLOW_ALL ", \"syscalls\": [{\"action\": \"SCMP_ACT_LOG\", "
				  "\"names\": [\"mkdir\"");
	for (int i = 0; i < 5000; i++)
		n += (size_t)sprintf(text + n, ",\"mkdir\"");
	n += (size_t)sprintf(text + n, "]}]}");
	refused_with(text, n, "more than 4096 rules");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allowlist),     cmocka_unit_test(actions),
		cmocka_unit_test(arguments),     cmocka_unit_test(names_of_our_own_filter),
		cmocka_unit_test(first_of_two),  cmocka_unit_test(forbids),
		cmocka_unit_test(text_and_back), cmocka_unit_test(mistakes),
		cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
