/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of a spec: what is accepted means the same after it was written and read once more. */
#include "fuzz.h"

#include "plan/make.h"
#include "spec/spec.h"

/* What the sandbox would be made of: the plan and the command as flat bytes. */
static void plan(const struct spec *s)
{
	struct plan_host host = {.uid = 1000, .gid = 1000, .landlock_abi = 3, .nofile_hard = 4096};
	struct plan_bytes bytes = {0};
	struct err e = ERR_INIT;
	struct result report;
	struct cmd *cmd = NULL;

	host.root = s->degrade;
	result_init(&report);
	if (plan_make(s, &host, &bytes, &report, &e) == 0)
		plan_free(&bytes);
	else
		FUZZ_CHECK(e.id);
	if (s->command.argv.n)
		cmd = plan_command(s, &s->command, &host, true, &e);
	FUZZ_CHECK(!cmd || cmd->total_bytes > sizeof(*cmd));
	free(cmd);
	result_done(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct spec s, again;
	char *first, *second;

	if (spec_decode((const char *)data, size, &s, &e) < 0) {
		FUZZ_CHECK(e.id && e.what[0]);
		return 0;
	}
	plan(&s);
	first = spec_encode(&s);
	FUZZ_CHECK(first && spec_decode(first, strlen(first), &again, &e) == 0);
	second = spec_encode(&again);
	FUZZ_CHECK(second && !strcmp(first, second));
	free(first);
	free(second);
	spec_done(&s);
	spec_done(&again);
	return 0;
}
