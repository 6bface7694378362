/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles of --seccomp: what is taken is a program that ends for every number, lets a command be
 * executed, and is the same after it went through a spec. */
#include "fuzz.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

#include "../bpf.h"
#include "kern/profile.h"

static uint32_t answer(const struct profile *p, const struct seccomp_data *d)
{
	int64_t said = bpf_answer(p->insns, p->len, d);

	FUZZ_CHECK(said >= 0);
	return (uint32_t)said;
}

static void follow(const struct profile *p)
{
	static const char *const start[] = {"execve", "write", NULL};
	struct seccomp_data d = {.arch = AUDIT_ARCH_X86_64};
	uint32_t action;

	FUZZ_CHECK(!profile_forbids(p, start));
	for (d.nr = 0; d.nr < 480; d.nr++)
		(void)answer(p, &d);
	d.nr = 59; /* execve */
	memset(d.args, 0x5a, sizeof(d.args));
	action = answer(p, &d) & SECCOMP_RET_ACTION_FULL;
	FUZZ_CHECK(action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct profile p, again;
	char *text;

	if (profile_compile("fuzz", (const char *)data, size, &p, &e) < 0) {
		FUZZ_CHECK(e.id && e.what[0] && !p.insns);
		return 0;
	}
	FUZZ_CHECK(!e.id && p.len && p.len <= PROFILE_INSNS_MAX);
	follow(&p);
	text = profile_text(&p);
	FUZZ_CHECK(text && profile_from_text(text, &again) == 0);
	FUZZ_CHECK(again.len == p.len && !memcmp(again.insns, p.insns, p.len * sizeof(*p.insns)));
	free(text);
	profile_done(&p);
	profile_done(&again);
	return 0;
}
